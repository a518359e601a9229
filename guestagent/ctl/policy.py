# SPDX-License-Identifier: Apache-2.0
"""``guestctl policy check``: look at a policy before a guest gets it."""

import argparse

from guestagent.agent.policy import files, rules
from guestagent.ctl import base, call


class PolicyCheck(base.Command):
    """Look for mistakes in a guest's policy, and say what it allows.

    With --caller and --command: whether it allows that, by which rule and why; the exit
    code is 1 if not. An argument that is not given counts as null here, and links are
    not followed: guestagent --explain in the guest knows better.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='FILE', help='the policy, as policy.conf')
        parser.add_argument(
            '--caller',
            metavar='NAME',
            help='a caller; plain:NAME is one who has not proven the name, and plain: '
            'one who has none (the default)',
        )
        parser.add_argument(
            '--command',
            metavar='EXTENSION.VERB',
            help='a command, as exec.run, or ping',
        )
        parser.add_argument(
            '--arg',
            metavar='KEY=VALUE',
            action='append',
            type=call.pair,
            default=[],
            help='an argument; the value is JSON if it can be read so, else text',
        )
        parser.add_argument(
            '--json',
            metavar='OBJECT',
            type=call.json_object,
            default={},
            help='arguments as one JSON object',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Read, decide if that was asked, and print."""
        found = files.load(parsed_args.file, trust=True)
        if parsed_args.command is None:
            if parsed_args.caller is not None or parsed_args.arg or parsed_args.json:
                self.usage_error('give --command, too')
            self.app.stdout.write(f'OK: {len(found)} rules\n')
            return
        decision = found.decide(
            rules.Caller.parse(parsed_args.caller or rules.PLAIN),
            parsed_args.command,
            {**parsed_args.json, **dict(parsed_args.arg)},
        )
        word = 'allowed' if decision.allowed else 'refused'
        self.app.stdout.write(f'{word}: {decision.reason}\n')
        if not decision.allowed:
            self.result_code = base.FAILED

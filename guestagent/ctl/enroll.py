# SPDX-License-Identifier: Apache-2.0
"""``guestctl instance enroll`` and ``revoke``: let guests in, and cut them off."""

import argparse
import functools
import os
import pathlib

from guestagent import errors, keyfile
from guestagent.ctl import accounts, base, enroller, models, rabbitmq

#: What a cloud writes at a guest's first boot.
_USER_DATA = """\
#cloud-config
write_files:
- path: {path}
  owner: root:root
  permissions: '0600'
  content: {token}
"""


class _Enrolment(base.Command):
    """A command with files of master keys, which ``[enroll]`` may name."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        base.add_instance(parser)
        parser.add_argument(
            'files',
            metavar='FILE',
            nargs='*',
            help="with master keys, the conductor's among them; default: [enroll] "
            'key_files',
        )
        return parser

    def enroller(self, parsed_args: argparse.Namespace) -> enroller.Enroller:
        """Return what does the work.

        :raises guestagent.errors.ConfigError: the configuration does not say how.
        """
        from guestagent.ctl import session

        conf = session.own(self.app.options)
        options = conf.enroll
        for name in ('guest_url', 'token_url', 'management_url'):
            if not options[name]:
                raise errors.ConfigError(
                    f'[enroll] {name} is not set in the configuration of guestctl'
                )
        files = parsed_args.files or options.key_files
        if not files:
            self.usage_error('name a FILE with master keys, or set [enroll] key_files')
        settings = accounts.Settings(
            model=getattr(parsed_args, 'model', None) or options.model,
            guest_url=options.guest_url,
            token_url=options.token_url,
            queue_length=options.queue_length,
            vhost_users=options.vhost_users,
            control_exchange=self.app.options.exchange or conf.control_exchange,
            report_topic=options.report_topic,
        )
        return enroller.Enroller(
            settings,
            [line for path in files for line in keyfile.read(path, '')],
            rabbitmq.Api(options.management_url, options.management_ca_file or ''),
            self.client.conductor.operate,
        )


class InstanceEnroll(_Enrolment):
    """Prepare a guest, and print the one-time token for which it gets its keys.

    The token, or the user-data with it, goes to the guest when it is made. It is a
    secret: others in the guest, and in the cloud, can read user-data and config drives.
    A former token of the instance is worth nothing then.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '-f',
            '--format',
            choices=['user-data', 'token'],
            default='user-data',
            help='what is printed: user-data for cloud-init, or the token alone, a '
            'file for a config drive; default: user-data',
        )
        parser.add_argument(
            '-o',
            '--output',
            metavar='PATH',
            help='write it to this file, which only its owner can read',
        )
        parser.add_argument(
            '--model', choices=sorted(models.MODELS), help='in place of [enroll] model'
        )
        parser.add_argument(
            '--lifetime',
            metavar='SECONDS',
            type=base.seconds,
            help='how long the token is good for; default: [enroll] token_lifetime',
        )
        _add_certificate(parser)
        parser.add_argument(
            '--token-file',
            metavar='PATH',
            default='/etc/guestagent/token',
            help='where the user-data puts it, [enroll] token_file of the guest; '
            'default: /etc/guestagent/token',
        )
        parser.add_argument(
            '--again',
            action='store_true',
            help='though the instance was cut off: its keys may be those that it had',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Prepare it, and print."""
        from guestagent.ctl import session

        work = self.enroller(parsed_args)
        lifetime = parsed_args.lifetime
        if lifetime is None:
            lifetime = session.own(self.app.options).enroll.token_lifetime
        with self.waiting(f'enrolling {parsed_args.instance}'):
            made = work.enroll(
                parsed_args.instance, lifetime, parsed_args.again, _files(parsed_args)
            )
        text = f'{made}\n'
        if parsed_args.format == 'user-data':
            text = _USER_DATA.format(path=parsed_args.token_file, token=made)
        if parsed_args.output:
            _write(pathlib.Path(parsed_args.output), text)
        else:
            self.app.stdout.write(text)


class InstanceRotate(_Enrolment):
    """Give an enrolled guest the keys of the present master keys.

    Its keys before go on for a while, so that callers can change one by one. Where it
    has an account of its own, that gets another password. The command is sealed with
    --key-file, by a key that the guest has already.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--overlap',
            metavar='SECONDS',
            type=base.seconds,
            default=86400.0,
            help='for how long its keys before go on; default: a day',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it take the keys."""
        work = self.enroller(parsed_args)
        with self.waiting(f'waiting for agent.rotate of {parsed_args.instance}'):
            work.rotate(
                parsed_args.instance,
                parsed_args.overlap,
                functools.partial(self.client.call, timeout=self.timeout),
            )


class InstanceRevoke(_Enrolment):
    """Cut a guest off: its account, its connections, and what it reports.

    Where all guests share an account it can still read what is sent to it; and whoever
    has its keys could answer in its name. It comes back only by enroll --again.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Cut it off."""
        with self.waiting(f'cutting off {parsed_args.instance}'):
            found = self.enroller(parsed_args).revoke(parsed_args.instance)
        self.app.stdout.write(
            f'{parsed_args.instance} is cut off; deleted: '
            f'{", ".join(found) or "nothing, it had nothing of its own"}\n'
        )


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--certificate',
        metavar='PATH',
        type=pathlib.Path,
        help='a certificate (PEM) for guestagent.INSTANCE, with which the guest '
        'logs in in place of a password',
    )
    parser.add_argument(
        '--certificate-key',
        metavar='PATH',
        type=pathlib.Path,
        help='its key (PEM, no password)',
    )


def _files(parsed_args: argparse.Namespace) -> dict[str, str]:
    """Return the PEM texts that the guest gets, by their names in the bundle.

    :raises guestagent.errors.ConfigError: one cannot be read, or is missing.
    """
    given = {
        'certificate': parsed_args.certificate,
        'certificate_key': parsed_args.certificate_key,
    }
    found = {}
    for name, path in given.items():
        if path is not None:
            try:
                found[name] = path.read_text(encoding='ascii')
            except (OSError, UnicodeDecodeError) as error:
                raise errors.ConfigError(f'{path}: {error}') from None
    if len(found) == 1:
        raise errors.ConfigError(
            '--certificate and --certificate-key belong together: give both'
        )
    return found


def _write(path: pathlib.Path, text: str) -> None:
    """Write a file for its owner's eyes.

    :raises guestagent.errors.ConfigError: it cannot be.
    """
    try:
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(path, flags, 0o600), 'w', encoding='utf-8') as file:
            file.write(text)
    except OSError as error:
        raise errors.ConfigError(f'{path}: {error.strerror or error}') from None

# SPDX-License-Identifier: Apache-2.0
"""``guestagent``: the agent in a guest."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from guestagent import imports

# Types of options that the agent does not have, and what a cache of stevedore would
# use that the agent has not (OpenSSL comes with it): megabytes of an idle agent.
imports.defer('hashlib', 'netaddr', 'rfc3986')

from oslo_config import cfg  # noqa: E402

from guestagent import errors, logs, memory, systemd  # noqa: E402
from guestagent.agent import privileges, service, trust  # noqa: E402
from guestagent.cmd import outcome  # noqa: E402
from guestagent.conf import agent, check, config  # noqa: E402

PROG = 'guestagent'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal stops it; return the exit code."""
    conf = config.Config()
    agent.register(conf)
    try:
        conf.load(
            sys.argv[1:] if argv is None else argv,
            prog=PROG,
            name='agent',
            description='The guest agent: takes requests from the bus and carries '
            'them to extensions.',
        )
        if conf.check_config:
            _take_over(conf)
            return _check(conf)
        if conf.check_bus:
            _take_over(conf)
            return _check_bus(conf)
        if conf.explain:
            return _explain(conf)
        check.enforce(check.values(conf))
        notifier = systemd.Notifier()
        # The token may be for root's eyes only; what asks the bus is not root.
        _fetch_token(conf, notifier)
        privileges.apply(conf, starts=True)
        _enroll(conf, notifier)
        if trust.is_configured(conf):
            memory.hide()
        made = service.Service(conf, notifier=notifier)
        logs.setup(conf, made.instance_id)
        made.run()
    except (cfg.Error, errors.ConfigError) as error:
        return outcome.complain(PROG, error, outcome.BAD_CONFIG)
    except (OSError, errors.StorageError) as error:
        return outcome.complain(PROG, error, outcome.FAILED)
    return outcome.OK


def _fetch_token(conf: config.Config, notifier: systemd.Notifier) -> None:
    """Wait for the token, where the guest is to have one."""
    if _is_to_be_enrolled(conf):
        from guestagent.agent import enrolling  # few agents have a token

        memory.hide()
        logs.setup(conf)
        enrolling.fetch(conf, notifier)


def _enroll(conf: config.Config, notifier: systemd.Notifier) -> None:
    """Get the guest's keys for the token."""
    if _is_to_be_enrolled(conf):
        from guestagent.agent import enrolling

        enrolling.ensure(conf, notifier)


def _take_over(conf: config.Config) -> None:
    if _is_to_be_enrolled(conf):
        from guestagent.agent import enrolling

        enrolling.take_over(conf)


def _is_to_be_enrolled(conf: config.Config) -> bool:
    return bool(conf.enroll.token_file) or 'GUESTAGENT_TOKEN' in os.environ


def _check(conf: config.Config) -> int:
    from guestagent.agent import checking  # the running agent does not need it

    # What would be logged on the way is among the findings.
    logging.getLogger().addHandler(logging.NullHandler())
    privileges.apply(conf, starts=False)
    return outcome.report(PROG, checking.check(conf))


def _check_bus(conf: config.Config) -> int:
    from guestagent.agent import buscheck  # nor this

    logging.getLogger().addHandler(logging.NullHandler())
    check.enforce(check.values(conf))
    # The account is in a file of the agent's user.
    privileges.apply(conf, starts=False)
    try:
        found = buscheck.check(conf)
    except errors.Transient as error:
        return outcome.complain(PROG, error, outcome.FAILED)
    for finding in found:
        print(f'{finding.verdict}: {finding.text}')
    return outcome.FAILED if buscheck.is_bad(found) else outcome.OK


def _explain(conf: config.Config) -> int:
    from guestagent.agent.policy import explaining  # nor this

    logging.getLogger().addHandler(logging.NullHandler())
    check.enforce(check.values(conf))
    privileges.apply(conf, starts=False)
    decision = explaining.explain(conf, conf.explain)
    print(f'{"allowed" if decision.allowed else "refused"}: {decision.reason}')
    return outcome.OK if decision.allowed else outcome.FAILED


if __name__ == '__main__':
    sys.exit(main())

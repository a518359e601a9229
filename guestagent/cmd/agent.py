# SPDX-License-Identifier: Apache-2.0
"""``guestagent``: the agent in a guest."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from guestagent import imports

# Types of options that the agent does not have, and a serializer that it does not
# speak: 2.5 MiB of an idle agent.
imports.defer('netaddr', 'rfc3986')
imports.refuse('yaml')

from oslo_config import cfg  # noqa: E402

import guestagent  # noqa: E402
from guestagent import errors, logs  # noqa: E402
from guestagent.agent import service  # noqa: E402
from guestagent.conf import agent  # noqa: E402

#: Exit codes: stopped as asked; a wrong configuration; anything else.
OK, BAD_CONFIG, FAILED = 0, 2, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal stops it; return the exit code."""
    conf = cfg.ConfigOpts()
    agent.register(conf)
    try:
        conf(
            sys.argv[1:] if argv is None else argv,
            project='guestagent',
            prog='guestagent',
            version=guestagent.__version__,
            description='The guest agent: takes requests from the bus and carries '
            'them to extensions.',
            default_config_files=cfg.find_config_files('guestagent', 'agent'),
            default_config_dirs=cfg.find_config_dirs('guestagent', 'agent'),
        )
        logs.setup(conf)
        service.Service(conf).run()
    except (cfg.Error, errors.ConfigError) as error:
        print(f'guestagent: {_one_line(error)}', file=sys.stderr)
        return BAD_CONFIG
    except OSError as error:
        print(f'guestagent: {_one_line(error)}', file=sys.stderr)
        return FAILED
    return OK


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


if __name__ == '__main__':
    sys.exit(main())

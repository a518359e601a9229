# SPDX-License-Identifier: Apache-2.0
"""Who may come in from where: pg_hba.conf and pg_ident.conf; no I/O.

The first line that fits counts.  Our own administrator comes in over the unix socket
alone, as a user of the operating system; everybody else with a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestagent import errors
from guestagent_datastore.engines.postgresql import client, names

#: The name of the map from users of the operating system to accounts.
MAP = 'guestagent'
#: The account of replicas.
REPLICATOR = 'os_replicator'

_HEAD = '# Written by the guest agent; changes are lost.\n'


def quote(name: str) -> str:
    """Return a name as a word of these files, with no special meaning."""
    return '"' + name.replace('"', '""') + '"'


def check(name: str, host: str) -> None:
    """Refuse a user whose host could not be written.

    :raises guestagent.errors.InvalidArgument: the name would be a pattern there.
    """
    if names.address(host) != 'all' and name.startswith('/'):
        raise errors.InvalidArgument(
            f'host: a user whose name begins with / cannot have one, as {name!r}'
        )


def rules(hosts: Mapping[str, str], tls_required: bool) -> str:
    """Return pg_hba.conf.

    :param hosts: of users that may not come from everywhere, by their names.
    :param tls_required: whether connections over TCP without TLS are refused.
    """
    admins = f'{client.ADMIN},{client.BOOTSTRAP}'
    lines = [
        f'local all,replication {admins} peer map={MAP}',
        f'host all,replication {client.ADMIN} all reject',
    ]
    if tls_required:
        lines.append('hostnossl all,replication all all reject')
    lines += [
        f'host replication,postgres {REPLICATOR} all scram-sha-256',
        f'host all {REPLICATOR} all reject',
    ]
    for name in sorted(hosts):
        lines += [
            f'host all {quote(name)} {names.address(hosts[name])} scram-sha-256',
            f'host all {quote(name)} all reject',
        ]
    lines += ['local all all scram-sha-256', 'host all all all scram-sha-256']
    return _HEAD + '\n'.join(lines) + '\n'


def identities(users: Sequence[str]) -> str:
    """Return pg_ident.conf, by which these system users are our administrator."""
    lines = [
        f'{MAP} {quote(user)} {account}'
        for user in dict.fromkeys(users)
        for account in (client.ADMIN, client.BOOTSTRAP)
    ]
    return _HEAD + '\n'.join(lines) + '\n'

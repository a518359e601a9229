# SPDX-License-Identifier: Apache-2.0
"""TLS of the server, in the words of Trove's ``ssl_...``."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from typing import Any

from guestagent import errors, extension
from guestagent_trove import base

#: ``datastore`` has done what a change needs, a restart too.
_DONE = {'restart_required': False}

#: Modes of Trove, and whether clients must use TLS.
MODES = {'basic': False, 'enforced': True}


class Tls(base.Base):
    """The commands ``ssl_...``."""

    @extension.command(mutates=False, timeout=180)
    def ssl_show(self, context: extension.Context) -> dict[str, Any]:
        """Return ``{status: on | off[, mode, certificate]}``."""
        found = self.ask('tls_show', context)
        if found['mode'] == 'off':
            return {'status': 'off'}
        return {
            'status': 'on',
            'mode': _mode(found['mode']),
            'certificate': {
                **_details(found['certificate']),
                'payload': found['certificate'],
            },
        }

    @extension.command(mutates=True, timeout=180, sensitive=('container',))
    def ssl_action(
        self,
        context: extension.Context,
        mode: str | None,
        container: dict[str, Any] | None,
        enable: bool,
        disable: bool,
    ) -> dict[str, Any]:
        """Switch TLS on with the certificate in ``container``, or off; restarts."""
        if bool(enable) == bool(disable):
            raise errors.InvalidArgument('enable or disable, one of them')
        if disable:
            self.ask('tls_disable', context)
            return dict(_DONE)
        if mode not in MODES:
            raise errors.InvalidArgument(f'mode {mode!r} is not one of {list(MODES)}')
        given = container or {}
        self.ask(
            'tls_enable',
            context,
            required=MODES[mode],
            certificate=given.get('certificate') or '',
            key=given.get('private_key') or '',
            ca=given.get('ca') or '',
        )
        return dict(_DONE)

    @extension.command(mutates=True, timeout=180)
    def ssl_rollback(self, context: extension.Context) -> dict[str, Any]:
        """Go back to what was before the last ``ssl_action``."""
        self.ask('tls_rollback', context)
        found = self.ask('tls_show', context)
        off = found['mode'] == 'off'
        return {
            'status': 'off' if off else 'on',
            'mode': None if off else _mode(found['mode']),
            **_DONE,
        }


def _mode(mode: str) -> str:
    return 'enforced' if mode == 'required' else 'basic'


def _details(certificate: str) -> dict[str, Any]:
    """Return a certificate's name, end and other names."""
    with tempfile.NamedTemporaryFile('w', suffix='.pem') as file:
        file.write(certificate)
        file.flush()
        # What Python's own tests read certificates with; no library need be loaded.
        found = ssl._ssl._test_decode_cert(file.name)  # type: ignore[attr-defined]
    subject = {key: value for part in found.get('subject', ()) for key, value in part}
    expires = datetime.datetime.fromtimestamp(
        ssl.cert_time_to_seconds(found['notAfter']), datetime.UTC
    )
    names = [f'{kind}:{value}' for kind, value in found.get('subjectAltName', ())]
    return {
        'cn': subject.get('commonName'),
        'expire_at': expires.strftime('%Y-%m-%dT%H:%M:%S'),
        'san': names or None,
    }

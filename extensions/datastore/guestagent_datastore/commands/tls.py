# SPDX-License-Identifier: Apache-2.0
"""TLS of the server's clients."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base, certificates, files, models


class Tls(base.Base):
    """Shows TLS, and switches it; what was before is kept for one step back."""

    @extension.command(mutates=False, timeout=15)
    def tls_show(self, context: extension.Context) -> dict[str, Any]:
        """Return how the server speaks TLS.

        :returns: ``{mode, certificate, ca, expires, self_signed}``.
        """
        return base.plain(self.engine.tls())

    @extension.command(mutates=True, timeout=None, sensitive=('key',))
    def tls_enable(
        self,
        context: extension.Context,
        required: bool = False,
        certificate: str = '',
        key: str = '',
        ca: str = '',
    ) -> dict[str, Any]:
        """Speak TLS by this certificate, or one that is made; returns ``tls_show``.

        :param required: clients over the network must.
        :raises guestagent.errors.InvalidArgument: it is no certificate with its key.
        """
        with self.changing('tls_enable', context):
            wanted = self._wanted(certificate, key, ca, required)
            self._change(wanted, context)
        return base.plain(self.engine.tls())

    @extension.command(mutates=True, timeout=None)
    def tls_disable(self, context: extension.Context) -> dict[str, Any]:
        """Speak TLS no more; returns ``tls_show``."""
        with self.changing('tls_disable', context):
            self._change({}, context)
        return base.plain(self.engine.tls())

    @extension.command(mutates=True, timeout=None, sensitive=('key',))
    def tls_rotate(
        self,
        context: extension.Context,
        certificate: str = '',
        key: str = '',
        ca: str = '',
    ) -> dict[str, Any]:
        """Speak TLS by another certificate; returns ``tls_show``.

        :raises guestagent.errors.GuestError: TLS is off.
        """
        with self.changing('tls_rotate', context):
            mode = self.engine.tls().mode
            if mode == 'off':
                raise errors.GuestError('TLS is off: enable it')
            wanted = self._wanted(certificate, key, ca, mode == 'required')
            self._change(wanted, context)
        return base.plain(self.engine.tls())

    @extension.command(mutates=True, timeout=None)
    def tls_rollback(self, context: extension.Context) -> dict[str, Any]:
        """Go back to what was before the last change; returns ``tls_show``.

        :raises guestagent.errors.GuestError: there was no change.
        """
        with self.changing('tls_rollback', context):
            text = files.read(self._record('previous'))
            if not text:
                raise errors.GuestError('TLS was not changed: there is no way back')
            self._change(json.loads(text), context)
        return base.plain(self.engine.tls())

    def _wanted(
        self, certificate: str, key: str, ca: str, required: bool
    ) -> dict[str, Any]:
        if bool(certificate) != bool(key):
            raise errors.InvalidArgument('certificate and key: give both, or neither')
        if certificate:
            given = models.TlsFiles(certificate, key, ca)
        else:
            given = certificates.make()
        return {**base.plain(given), 'required': required}

    def _change(self, wanted: dict[str, Any], context: extension.Context) -> None:
        """Have the server take it; where it does not start by it, go back."""
        before: dict[str, Any] = json.loads(files.read(self._record('present')) or '{}')
        running = self.control.state() != 'shutdown'
        if self._give(wanted) and running:
            try:
                self.control.restart(context)
            except errors.GuestError:
                self._give(before)
                self.control.restart()
                raise
        files.write(self._record('previous'), json.dumps(before), 0o600)
        files.write(self._record('present'), json.dumps(wanted), 0o600)

    def _give(self, wanted: dict[str, Any]) -> bool:
        """Give it to the engine; returns whether the server must be restarted."""
        if not wanted:
            return self.engine.disable_tls()
        given = {name: wanted[name] for name in ('certificate', 'key', 'ca')}
        return self.engine.enable_tls(models.TlsFiles(**given), wanted['required'])

    def _record(self, name: str) -> pathlib.Path:
        return self.engine.place.state / f'tls-{name}.json'

# SPDX-License-Identifier: Apache-2.0
"""TLS of MariaDB: a new certificate counts at once, the first one after a restart."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from guestagent import errors
from guestagent_datastore import certificates, files, models
from guestagent_datastore.engines.mariadb import server

TEXT = """\
# Written by the guest agent; changes are lost.
[mariadbd]
ssl_cert = {folder}/server.crt
ssl_key = {folder}/server.key
{ca}require_secure_transport = {required}
"""


class Tls(server.Server):
    """Shows TLS, and switches it."""

    @property
    def _tls_folder(self) -> pathlib.Path:
        return self.place.config / 'tls'

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files, those of TLS as they were."""
        self.prepare_folders()
        self._write_tls(self.kept_tls())
        super().configure(contents, memory)

    def tls(self) -> models.Tls:
        """Return how the server speaks TLS."""
        return certificates.shown(self.kept_tls())

    def enable_tls(self, files: models.TlsFiles, required: bool) -> bool:
        """Take this certificate; a server that spoke TLS takes it at once.

        :raises guestagent.errors.InvalidArgument: it is none, or the key is another's.
        """
        kept = certificates.to_keep(files, required)
        before = self.kept_tls()
        self._write_tls(kept)
        # Whether it is told where to find what signs clients, is said at a start only.
        if not self._speaks() or bool(before.get('ca')) != bool(files.ca):
            return True
        try:
            self.changer.run(['FLUSH SSL'])
        except errors.GuestError:
            self._write_tls(before)
            raise
        self.client.query('SET GLOBAL require_secure_transport = %s', int(required))
        return False

    def disable_tls(self) -> bool:
        """Speak TLS no more after the next start."""
        self._write_tls({})
        return self._speaks()

    def _speaks(self) -> bool:
        """Whether the server that runs speaks TLS."""
        if self.ready() != 'healthy':
            return False
        ((value,),) = self.client.query('SELECT @@have_ssl')
        return bool(value == 'YES')

    def kept_tls(self) -> dict[str, Any]:
        """Return what was enabled; empty: nothing."""
        path = self.place.state / 'mariadb-tls.json'
        kept: dict[str, Any] = json.loads(files.read(path) or '{}')
        return kept

    def _write_tls(self, kept: dict[str, Any]) -> None:
        files.write(self.place.state / 'mariadb-tls.json', json.dumps(kept), 0o600)
        if not kept:
            files.write(self.file(server.TLS), '')
            files.empty(self._tls_folder)
            return
        folder, user = self._tls_folder, self.place.user
        files.make_folder(folder, user, 0o700)
        files.write(folder / 'server.crt', kept['certificate'], 0o600, user)
        files.write(folder / 'server.key', kept['key'], 0o600, user)
        files.write(folder / 'ca.crt', kept['ca'], 0o600, user)
        ca = f'ssl_ca = {folder}/ca.crt\n' if kept['ca'] else ''
        text = TEXT.format(folder=folder, ca=ca, required=int(kept['required']))
        files.write(self.file(server.TLS), text)

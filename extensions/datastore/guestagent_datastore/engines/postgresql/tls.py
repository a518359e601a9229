# SPDX-License-Identifier: Apache-2.0
"""TLS of connections over TCP; the server takes a new certificate at a reload."""

from __future__ import annotations

from guestagent_datastore import certificates, models
from guestagent_datastore.engines.postgresql import server


class Tls(server.Server):
    """What has to do with TLS."""

    def tls(self) -> models.Tls:
        """Return how the server speaks TLS."""
        return certificates.shown(self.recall().tls)

    def enable_tls(self, files: models.TlsFiles, required: bool) -> bool:
        """Take this certificate at once.

        :raises guestagent.errors.InvalidArgument: it is none, or the key is another's.
        """
        kept = certificates.to_keep(files, required)
        state = self.recall()
        state.tls = kept
        self.keep(state)
        self.reload()
        return False

    def disable_tls(self) -> bool:
        """Speak TLS with no new client."""
        state = self.recall()
        state.tls = {}
        self.keep(state)
        self.reload()
        return False

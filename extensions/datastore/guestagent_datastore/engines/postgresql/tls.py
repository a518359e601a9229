# SPDX-License-Identifier: Apache-2.0
"""TLS of connections over TCP; the server takes a new certificate at a reload."""

from __future__ import annotations

import re

from guestagent import errors
from guestagent_datastore import files, models, programs
from guestagent_datastore.engines.postgresql import server


class Tls(server.Server):
    """What has to do with TLS."""

    def tls(self) -> models.Tls:
        """Return how the server speaks TLS."""
        kept = self.recall().tls
        if not kept:
            return models.Tls('off')
        expires, self_signed = self._dates()
        return models.Tls(
            mode='required' if kept['required'] else 'on',
            certificate=kept['certificate'],
            ca=kept['ca'],
            expires=expires,
            self_signed=self_signed,
        )

    def enable_tls(self, files: models.TlsFiles, required: bool) -> bool:
        """Take this certificate at once.

        :raises guestagent.errors.InvalidArgument: it is none, or the key is another's.
        """
        self._check_pem(files)
        state = self.recall()
        state.tls = {
            'certificate': files.certificate,
            'key': files.key,
            'ca': files.ca,
            'required': required,
        }
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

    def _check_pem(self, given: models.TlsFiles) -> None:
        """Refuse what the server would not take: it would say so in its log only."""
        import ssl

        certificate = self.place.state / 'trial.crt'
        key = self.place.state / 'trial.key'
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            files.write(certificate, given.certificate, 0o600)
            files.write(key, given.key, 0o600)
            # A key with a passphrase would ask for it on a terminal.
            context.load_cert_chain(certificate, key, password=b'')
            if given.ca:
                context.load_verify_locations(cadata=given.ca)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, 'reason', None) or 'it is no PEM text'
            words = reason.replace('_', ' ').lower()
            raise errors.InvalidArgument(f'certificate, key or ca: {words}') from None
        finally:
            certificate.unlink(missing_ok=True)
            key.unlink(missing_ok=True)

    def _dates(self) -> tuple[int, bool]:
        """Return when the certificate expires, and whether it has signed itself."""
        import ssl

        said = programs.run(
            models.Command(
                (
                    *('openssl', 'x509', '-noout', '-enddate', '-subject', '-issuer'),
                    *('-in', str(self.file('server.crt'))),
                )
            )
        )
        found = dict(re.findall(r'(\w+)=\s*(.*)', said))
        expires = ssl.cert_time_to_seconds(found['notAfter'])
        return expires, found['subject'] == found['issuer']

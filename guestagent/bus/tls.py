# SPDX-License-Identifier: Apache-2.0
"""TLS to RabbitMQ: oslo.messaging's options, made into py-amqp's.

With an authority's file, the broker's certificate must be signed by that authority and
be for the name by which we call it.  Without, it must be signed by an authority that
the system trusts, for any name.  That is how oslo.messaging has it.
"""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any, ClassVar

from guestagent import errors
from guestagent.bus import stream

_VERSIONS = {'tlsv1_2': ssl.TLSVersion.TLSv1_2, 'tlsv1_3': ssl.TLSVersion.TLSv1_3}


class Stream(stream.Stream):
    """A stream of a socket with TLS."""

    not_ready = (*stream.Stream.not_ready, ssl.SSLWantReadError, ssl.SSLWantWriteError)

    def _holds_more(self) -> bool:
        """TLS gives a record at a time, and may hold more of one."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files in PEM, each ``''`` where there is none; read anew by each connection.

    :ivar version: ``TLSv1_2`` or ``TLSv1_3`` for only that; otherwise the best.
    :cvar stream: what reads and writes the sockets that it makes.
    """

    stream: ClassVar[type[stream.Stream]] = Stream

    ca_file: str = ''
    cert_file: str = ''
    key_file: str = ''
    version: str = ''

    @classmethod
    def of(cls, rabbit: Any) -> Tls:
        """Return what the options of ``[oslo_messaging_rabbit]`` say."""
        return cls(
            rabbit.ssl_ca_file,
            rabbit.ssl_cert_file,
            rabbit.ssl_key_file,
            rabbit.ssl_version,
        )

    def check(self) -> None:
        """Read the files.

        :raises guestagent.errors.ConfigError: one cannot be read, or is of no use.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise _unusable('ssl_ca_file', self.ca_file, error) from None
        if self.key_file and not self.cert_file:
            raise errors.ConfigError(
                'ssl_key_file is set and ssl_cert_file is not: they belong together'
            )
        if not self.cert_file:
            return
        for option, name in (
            ('ssl_cert_file', self.cert_file),
            ('ssl_key_file', self.key_file),
        ):
            try:
                if name:
                    open(name, 'rb').close()
            except OSError as error:
                raise _unusable(option, name, error) from None
        try:
            # A key with a password must not stop the agent to ask for it.
            context.load_cert_chain(
                self.cert_file, self.key_file or None, password=lambda: ''
            )
        except OSError as error:
            raise _unusable('ssl_cert_file', self.cert_file, error) from None

    def parameters(self, hostname: str) -> dict[str, Any] | bool:
        """Return what py-amqp is told as ``ssl``."""
        made: dict[str, Any] = {}
        if self.cert_file:
            made['certfile'] = self.cert_file
            made['keyfile'] = self.key_file or None
        if self.ca_file:
            made['ca_certs'] = self.ca_file
            made['cert_reqs'] = ssl.CERT_REQUIRED
            made['server_hostname'] = hostname
        version = _VERSIONS.get(self.version.lower())
        if version is not None:
            made['tls_minimum_version'] = made['tls_maximum_version'] = version
        return made or True


def _unusable(option: str, name: str, error: OSError) -> errors.ConfigError:
    """Return the error of a file, with a key that does not fit as the usual cause."""
    reason = error.strerror or str(error)
    if isinstance(error, ssl.SSLError):
        reason = {
            'NO_CERTIFICATE_OR_CRL_FOUND': 'there is no certificate in it',
            'KEY_VALUES_MISMATCH': 'the key in ssl_key_file belongs to another one',
        }.get(error.reason or '', f'it is no PEM file of this kind: {reason}')
    return errors.ConfigError(f'{option} = {name}: {reason}')

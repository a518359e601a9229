# SPDX-License-Identifier: Apache-2.0
"""Certificates for servers: made here and signed by themselves, checked, read."""

from __future__ import annotations

import contextlib
import pathlib
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from guestagent import errors
from guestagent_datastore import files, models, programs

#: How long one that is made here is good for.
DAYS = 3650

_REQUEST = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {name}
[extensions]
subjectAltName = DNS:{name}, DNS:localhost
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
"""


def make() -> models.TlsFiles:
    """Return a new key with its certificate, in the name of this guest.

    :raises guestagent.errors.GuestError: openssl cannot make it.
    """
    # A longer name does not fit.
    name = re.sub(r'[^0-9A-Za-z.-]', '-', socket.gethostname())[:64] or 'localhost'
    with _folder() as folder:
        request, certificate, key = folder / 'request', folder / 'crt', folder / 'key'
        files.write(request, _REQUEST.format(name=name))
        words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        _openssl(
            *words.split(),
            *('-days', str(DAYS), '-config', str(request)),
            *('-keyout', str(key), '-out', str(certificate)),
        )
        return models.TlsFiles(certificate.read_text(), key.read_text())


def check(given: models.TlsFiles) -> None:
    """Refuse what no server would take, before one tries.

    :raises guestagent.errors.InvalidArgument: it is no PEM text, the key is another's
        or has a passphrase.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _folder() as folder:
        certificate, key = folder / 'crt', folder / 'key'
        files.write(certificate, given.certificate, 0o600)
        files.write(key, given.key, 0o600)
        try:
            # Without one it would ask on a terminal.
            context.load_cert_chain(certificate, key, password=b'')
            if given.ca:
                context.load_verify_locations(cadata=given.ca)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, 'reason', None) or 'it is no PEM text'
            words = reason.replace('_', ' ').lower()
            raise errors.InvalidArgument(f'certificate, key or ca: {words}') from None


def check_ca(text: str) -> None:
    """Refuse what no certificate could be checked against.

    :raises guestagent.errors.InvalidArgument: it is no PEM text.
    """
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise errors.InvalidArgument('source: ca is no certificate in PEM') from None


def signer(kept: Mapping[str, Any]) -> str:
    """Return what a certificate that an engine keeps is to be checked against.

    :returns: PEM; ``''``: there is none, or nobody knows who has signed it.
    """
    if not kept:
        return ''
    _expires, self_signed = about(kept['certificate'])
    found: str = kept['certificate'] if self_signed else kept['ca']
    return found


def about(certificate: str) -> tuple[int, bool]:
    """Return when a certificate expires, in UNIX seconds, and if it signed itself.

    :raises guestagent.errors.GuestError: openssl cannot read it.
    """
    import ssl

    with _folder() as folder:
        path = folder / 'crt'
        files.write(path, certificate)
        said = _openssl(
            *['x509', '-noout', '-enddate', '-subject', '-issuer', '-in'], str(path)
        )
    found = dict(re.findall(r'(\w+)=\s*(.*)', said))
    expires = ssl.cert_time_to_seconds(found['notAfter'])
    return expires, found['subject'] == found['issuer']


def to_keep(given: models.TlsFiles, required: bool) -> dict[str, Any]:
    """Check a certificate; return what an engine keeps of it, as JSON.

    :raises guestagent.errors.InvalidArgument: as :func:`check`.
    """
    check(given)
    return {
        'certificate': given.certificate,
        'key': given.key,
        'ca': given.ca,
        'required': required,
    }


def shown(kept: Mapping[str, Any]) -> models.Tls:
    """Return how a server speaks TLS whose engine keeps this; empty: it does not."""
    if not kept:
        return models.Tls('off')
    expires, self_signed = about(kept['certificate'])
    return models.Tls(
        mode='required' if kept['required'] else 'on',
        certificate=kept['certificate'],
        ca=kept['ca'],
        expires=expires,
        self_signed=self_signed,
    )


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix='guestagent-tls-') as name:
        yield pathlib.Path(name)


def _openssl(*words: str) -> str:
    return programs.run(models.Command(('openssl', *words)))

# SPDX-License-Identifier: Apache-2.0
"""Why a broker or its answers are of no use, in one line that says what to do; no I/O.

None of these lines holds a password: py-amqp's errors hold what the broker says.
"""

from __future__ import annotations

import re
import ssl

from guestagent.bus import greeting

_SECTION = '[oslo_messaging_rabbit]'
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<arg>[^']+)' for (?P<kind>\w+) '(?P<name>[^']*)'"
    r"(?: in vhost '[^']*')?: received (?P<ours>.+) but current is (?P<theirs>.+)"
)
#: The option that decides each argument of a declaration.
_OPTIONS = {
    'durable': 'amqp_durable_queues',
    'auto_delete': 'amqp_auto_delete',
    'x-queue-type': 'rabbit_quorum_queue',
    'x-delivery-limit': 'rabbit_quorum_delivery_limit',
    'x-max-in-memory-length': 'rabbit_quorum_max_memory_length',
    'x-max-in-memory-bytes': 'rabbit_quorum_max_memory_bytes',
}
_TYPED = re.compile(r"the value ('[^']*') of type '\w+'")


def explain(error: BaseException, report_exchange: str = '') -> str:
    """Return the reason in one line.

    :param report_exchange: the exchange that no option makes otherwise.
    """
    if isinstance(error, ssl.SSLError):
        return _tls(error)
    if isinstance(error, greeting.SpeaksTls):
        return (
            f'what answers speaks TLS: set {_SECTION} ssl = true, or name the port '
            f'without it (5672 as a rule)'
        )
    if isinstance(error, greeting.NotAmqp):
        return f'what answers is no AMQP broker ({error}); is this its port?'
    text = ' '.join(str(error).split()) or type(error).__name__
    found = _INEQUIVALENT.search(text)
    if found:
        return _other_flags(found, report_exchange)
    if 'ACCESS_REFUSED' in text:
        return f'the broker refuses the login or a right: {text}'
    if 'is down or inaccessible' in text:
        return (
            f'the node that holds the queue is down (a quorum queue, {_SECTION} '
            f'rabbit_quorum_queue, is on several): {text}'
        )
    if 'find appropriate auth mechanism' in text:
        return f'the broker does not know {_SECTION} rabbit_login_method: {text}'
    return text


def _tls(error: ssl.SSLError) -> str:
    """Return what went wrong in a handshake, and on whose side."""
    reason = error.reason or ''
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the broker's certificate is refused: {error.verify_message} "
            f'({_SECTION} ssl_ca_file says which authority is trusted)'
        )
    if reason == 'WRONG_VERSION_NUMBER':
        return 'what answers is no TLS; is this the port for it (5671 as a rule)?'
    if 'ALERT' in reason:
        alert = reason.lower().replace('_', ' ')
        return (
            f"the broker refuses this agent's side of TLS: {alert} ({_SECTION} "
            f'ssl_cert_file is the certificate that it is shown)'
        )
    return f'TLS failed: {" ".join(str(error).split())}'


def _other_flags(found: re.Match[str], report_exchange: str) -> str:
    arg, kind, name = found['arg'], found['kind'], found['name']
    option = _OPTIONS.get(arg)
    if name.endswith('_fanout'):
        option = 'rabbit_transient_quorum_queue' if arg == 'durable' else None
    if kind == 'queue' and arg == 'durable':
        option = 'amqp_durable_queues or rabbit_quorum_queue'
    if name == report_exchange:
        option = None
    todo = f'set {_SECTION} {option} as that has it, or ' if option else ''
    return (
        f'another program has declared {kind} {name!r} with {arg} '
        f'{_plain(found["theirs"])}, not {_plain(found["ours"])}: {todo}'
        f'delete that {kind} in RabbitMQ'
    )


def _plain(value: str) -> str:
    typed = _TYPED.match(value)
    return (typed[1] if typed else value).strip("'")

# SPDX-License-Identifier: Apache-2.0
"""What is sent over each bus alike, and how an answer is looked at."""

import json

#: In place of a value: the key is not there.
ABSENT = object()

REQUEST = {'method': 'echo', 'namespace': 'probe', 'version': '1.0', 'args': {}}
DISPATCHER = 'oslo_messaging.rpc.dispatcher'


def request(**change):
    """Return a request to ``probe.echo`` with some keys changed."""
    return {
        key: value
        for key, value in {**REQUEST, **change}.items()
        if value is not ABSENT
    }


def echo(value):
    return request(args={'value': value})


def fail(kind):
    return request(method='fail', args={'kind': kind})


def visible(reply):
    """Return what a client sees of a reply, as text, and the traceback apart."""
    failure = reply['failure'] and json.loads(reply['failure'])
    trace = failure.pop('tb') if failure else None
    return json.dumps([reply['result'], failure, reply['ending']]), trace


def deep(levels):
    value = 'bottom'
    for _ in range(levels):
        value = [value]
    return value


#: What must come back as it is.
VALUES = {
    'null': None,
    'numbers': [0, -1, 1.5, -0.0, 1e308, 5e-324, 2**63, -(2**64)],
    'a huge integer': 10**4000,
    'not a number': [float('nan'), float('inf'), float('-inf')],
    'booleans beside numbers': [True, 1, 1.0, False, 0],
    'unicode': 'żółw \U0001f422 \u0000 \u2028',
    'a lone surrogate': 'x\ud800y\udfff',
    'bytes as latin-1': bytes(range(256)).decode('latin-1'),
    'keys': {'': 1, '_msg_id': 2, 'oslo.message': 3, '__type__': 'bytes', '.a/$': 4},
    'a typed value of kombu': {'__type__': 'uuid', '__value__': {'hex': 'zz'}},
    'deep': deep(200),
    'wide': list(range(20000)),
    'large': 'x' * 900_000,
    'an envelope': {'oslo.version': '2.0', 'oslo.message': '{}'},
}

#: Requests, and the class of the error that answers each (doc/wire.rst, section 5).
REFUSED = {
    'other major': (request(version='2.0'), 'UnsupportedVersion'),
    'later minor': (request(version='1.3'), 'UnsupportedVersion'),
    'later revision': (request(version='1.2.1'), 'UnsupportedVersion'),
    'version 0.9': (request(version='0.9'), 'UnsupportedVersion'),
    'version null': (request(version=None), 'UnsupportedVersion'),
    'version without minor': (request(version='1'), 'IndexError'),
    'version a number': (request(version=1.0), 'AttributeError'),
    'version no number': (request(version='x.y'), 'ValueError'),
    'version a list': (request(version=['1', '0']), 'AttributeError'),
    'unknown namespace': (request(namespace='nope'), 'UnsupportedVersion'),
    'sealed, which is reserved': (request(namespace='sealed'), 'UnsupportedVersion'),
    'namespace null': (request(namespace=None), 'NoSuchMethod'),
    'namespace absent': (request(namespace=ABSENT), 'NoSuchMethod'),
    'namespace a list': (request(namespace=['probe']), 'UnsupportedVersion'),
    'namespace an object': (request(namespace={}), 'UnsupportedVersion'),
    'unknown method': (request(method='nope'), 'NoSuchMethod'),
    'method of another case': (request(method='Echo'), 'NoSuchMethod'),
    'private method': (request(method='_private'), 'NoSuchMethod'),
    'ping in a namespace': (request(method='oslo_rpc_server_ping'), 'NoSuchMethod'),
    'method absent': (request(method=ABSENT), 'TypeError'),
    'method null': (request(method=None), 'TypeError'),
    'method a number': (request(method=5), 'TypeError'),
    'args null': (request(args=None), 'AttributeError'),
    'args a list': (request(args=[]), 'AttributeError'),
    'args a text': (request(args='value'), 'AttributeError'),
    'unknown argument': (request(args={'zz': 1}), 'TypeError'),
    'argument named self': (request(args={'self': 1}), 'TypeError'),
    'argument named context': (request(args={'context': 1}), 'TypeError'),
    'missing argument': (request(method='sleep'), 'TypeError'),
    'wrong type': (request(method='sleep', args={'seconds': 'x'}), 'TypeError'),
    'true is no number': (request(method='sleep', args={'seconds': True}), 'TypeError'),
    'a later error of the caller': (fail('ours'), 'InvalidArgument'),
    'past its limit': (request(method='hang', args={'seconds': 5}), 'CommandTimeout'),
    'no JSON': (request(method='unsendable'), 'BadResult'),
    'too large': (request(method='large', args={'size': 2**20}), 'ResultTooLarge'),
    'not loaded': (
        request(method='ask', args={'other': 'exec', 'command': 'run'}),
        'ExtensionUnavailable',
    ),
}

ANSWERED = {
    **{name: (echo(value), value) for name, value in VALUES.items()},
    'ping': (request(namespace=None, method='oslo_rpc_server_ping'), 'pong'),
    'ping, namespace absent': (
        request(namespace=ABSENT, method='oslo_rpc_server_ping'),
        'pong',
    ),
    'version absent': (request(version=ABSENT), None),
    'args absent': (request(args=ABSENT), None),
    'the latest version': (request(version='1.2'), None),
    'an earlier revision': (request(version='1.1.9'), None),
    'an unknown key': (request(something={'else': 1}), None),
    'a monitor that is no number': (request(_timeout='x'), None),
    'a unique id that is no text': (request(_unique_id=['x']), None),
}


CONTEXTS = {
    'none': {},
    'usual': {'user': 'ü', 'roles': ['a'], 'is_admin': True, 'deadline': None},
    'exotic keys': {'': 1, 'a.b': 2, '_context_x': 3, 'ż': 4, 'k' * 3000: 5},
    'nested': {'tree': deep(50), 'object': {'a': {'b': [1, {'c': None}]}}},
    'a caller': {'guestagent_caller': 'nova', 'guestagent_command_id': 'id-1'},
    'a caller that is no text': {'guestagent_caller': {'a': 1}},
    'an id that may be none': {'guestagent_command_id': '../../etc'},
    'words of the library': {'conf': 1, 'values': 2, 'kwargs': 3, 'timeout': 4},
}


def enveloped(inner, version='2.0'):
    return json.dumps({'oslo.version': version, 'oslo.message': inner}).encode()


def asking(client, body):
    """Return the text of a message with ``body`` that wants an answer."""
    return (
        f'{{{body}, "namespace": "probe", "_msg_id": "bad", '
        f'"_reply_q": "{client.reply_queue}"}}'
    )


GOOD = '"method": "echo", "args": {"value": 1}'

UNREADABLE = {
    'garbage': lambda client: b'garbage',
    'nothing': lambda client: b'',
    'zeros': lambda client: b'\x00\xfe' * 1000,
    'a list': lambda client: b'[1]',
    'a text': lambda client: b'"x"',
    'truncated': lambda client: enveloped(asking(client, GOOD))[:-20],
    'a truncated message in a whole envelope': lambda client: enveloped(
        asking(client, GOOD)[:-5]
    ),
    'an older envelope': lambda client: enveloped(asking(client, GOOD), '1.0'),
    'a later envelope': lambda client: enveloped(asking(client, GOOD), '2.1'),
    'bad UTF-8': lambda client: enveloped(asking(client, GOOD)).replace(
        b'echo', b'\xc0\xfe\xfd\xfc'
    ),
    'too deep': lambda client: enveloped(
        asking(client, f'"args": {{"value": {"[" * 100_000}{"]" * 100_000}}}')
    ),
    'an integer that takes seconds to read': lambda client: enveloped(
        asking(client, f'"args": {{"value": {"9" * 100_000}}}')
    ),
    'a message in a list': lambda client: enveloped(f'[{asking(client, GOOD)}]'),
    'a message that is no text': lambda client: (
        b'{"oslo.version": "2.0", "oslo.message": {"method": "echo"}}'
    ),
}

ODD_BODIES = {
    'duplicate keys': ('"method": "nope", "method": "echo", "args": {"value": 1}', 1),
    'duplicate arguments': ('"method": "echo", "args": {"value": 2, "value": 3}', 3),
    'not a number': ('"method": "echo", "args": {"value": NaN}', None),
    'a surrogate, escaped': (
        '"method": "echo", "args": {"value": "\\ud800"}',
        '\ud800',
    ),
}

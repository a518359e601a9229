# SPDX-License-Identifier: Apache-2.0
import contextlib
import socket
import struct

import hypothesis
import pytest
from guestagent_monitoring import netlink
from guestagent_monitoring.collectors import nics
from hypothesis import strategies


def padded(data):
    return data + b'\0' * (-len(data) % 4)


def attribute(kind, value):
    return padded(struct.pack('=HH', 4 + len(value), kind) + value)


def message(kind, body, flags=0, sequence=1):
    return padded(
        struct.pack('=IHHII', 16 + len(body), kind, flags, sequence, 0) + body
    )


def link(index, name, kind=1, *extra):
    return (
        struct.pack('=BxHiII', 0, kind, index, 0, 0)
        + attribute(3, name + b'\0')
        + attribute(4, struct.pack('=I', 1500))
        + b''.join(extra)
    )


def address(index, family, prefix, *attributes):
    return struct.pack('=BBBBI', family, prefix, 0, 0, index) + b''.join(attributes)


@hypothesis.given(strategies.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(ValueError):
        list(netlink.messages(data))
    with contextlib.suppress(ValueError):
        netlink.attributes(data)
    with contextlib.suppress(ValueError, LookupError):
        nics.describe([data], [data])


@hypothesis.given(
    strategies.dictionaries(
        strategies.integers(0, 0x3FFF), strategies.binary(max_size=40)
    ),
    strategies.sampled_from([0, 0x8000, 0x4000]),
)
def test_attributes_come_back_without_their_flags(wanted, flag):
    data = b''.join(attribute(kind | flag, value) for kind, value in wanted.items())

    assert netlink.attributes(data) == wanted


@hypothesis.given(strategies.lists(strategies.binary(max_size=40)))
def test_messages_come_back_in_order(bodies):
    data = b''.join(message(16, body, 2, 7) for body in bodies)

    assert list(netlink.messages(data)) == [(16, 2, 7, body) for body in bodies]


def test_what_is_cut_short_is_refused():
    whole = message(16, b'12345678')
    for length in range(1, len(whole)):
        with pytest.raises(ValueError, match='cut short'):
            list(netlink.messages(whole[:length]))


def test_nics_of_all_kinds():
    found = nics.describe(
        [
            link(1, b'lo', 772, attribute(1, b'\0' * 6), attribute(16, b'\0')),
            link(
                2, b'eth0', 1, attribute(1, b'\x02\xfc\0\0\0\x01'), attribute(16, b'\6')
            ),
            link(3, b'ppp0', 512),
            link(4, b'sit0', 776, attribute(1, b'\n\0\0\1')),
            link(5, b'new0', 1, attribute(16, b'\x63')),
            link(6, b'veth12', 1),
        ],
        [
            address(
                2,
                socket.AF_INET,
                24,
                attribute(1, bytes([192, 0, 2, 7])),
                attribute(2, bytes([192, 0, 2, 7])),
            ),
            address(
                2, socket.AF_INET6, 64, attribute(1, b'\xfe\x80' + b'\0' * 13 + b'\1')
            ),
            # The first is the other end of the link.
            address(
                3,
                socket.AF_INET,
                32,
                attribute(1, bytes([10, 0, 0, 1])),
                attribute(2, bytes([10, 0, 0, 2])),
            ),
            address(6, socket.AF_INET, 24, attribute(1, bytes(4))),
            address(2, 129, 0),
        ],
        ['veth*'],
    )

    none = {'mac': None, 'mtu': 1500, 'state': 'unknown', 'addresses': []}
    assert found == [
        {**none, 'name': 'lo'},
        {
            'name': 'eth0',
            'mac': '02:fc:00:00:00:01',
            'mtu': 1500,
            'state': 'up',
            'addresses': [
                {'family': 'inet', 'address': '192.0.2.7', 'prefix': 24},
                {'family': 'inet6', 'address': 'fe80::1', 'prefix': 64},
            ],
        },
        {
            **none,
            'name': 'ppp0',
            'addresses': [{'family': 'inet', 'address': '10.0.0.2', 'prefix': 32}],
        },
        {**none, 'name': 'sit0'},
        {**none, 'name': 'new0'},
    ]


class Channel:
    """A socket that answers each request with the next of the scripted answers."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def settimeout(self, seconds):
        pass

    def bind(self, address):
        pass

    def send(self, data):
        self.requests += 1

    def recv(self, size):
        return self.answers.pop(0)


@pytest.fixture
def answer(monkeypatch):
    def use(*answers):
        channel = Channel(*answers)
        monkeypatch.setattr(socket, 'socket', lambda *_: channel)
        return channel

    return use


def test_a_list_that_changed_while_it_was_told_is_asked_for_again(answer):
    channel = answer(
        message(16, b'old.', 0x12, 1) + message(3, b'', 0, 1),
        # What was meant for another is passed over.
        message(16, b'late', 0, 1) + message(16, b'new1', 2, 2),
        message(16, b'new2', 2, 2) + message(20, b'none', 2, 2),
        message(3, b'', 2, 2),
    )

    assert netlink.dump(netlink.GET_LINK, netlink.NEW_LINK) == [b'new1', b'new2']
    assert channel.requests == 2


def test_a_list_that_never_rests_is_taken_as_it_is(answer):
    channel = answer(
        *[message(16, b'some', 0x12, n) + message(3, b'', 0, n) for n in (1, 2, 3)]
    )

    assert netlink.dump(netlink.GET_LINK, netlink.NEW_LINK) == [b'some']
    assert channel.requests == 3


def test_a_refusal_of_the_kernel_is_an_oserror(answer):
    answer(message(2, struct.pack('=i', -1) + b'\0' * 16, 0, 1))

    with pytest.raises(PermissionError):
        netlink.dump(netlink.GET_LINK, netlink.NEW_LINK)

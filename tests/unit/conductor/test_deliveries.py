# SPDX-License-Identifier: Apache-2.0
"""Deliveries out of frames: in pieces, empty, too large, and out of step."""

import struct

import pytest

from guestagent.bus import frames
from guestagent.conductor import deliveries

METHOD, HEADER, BODY = deliveries.METHOD, deliveries.HEADER, deliveries.BODY


def deliver(tag: int, consumer: bytes = b'amq.ctag-x') -> frames.Frame:
    arguments = bytes([len(consumer)]) + consumer + struct.pack('>Q', tag)
    return METHOD, 1, struct.pack('>HH', 60, 60) + arguments + b'\0\0\0'


def header(size: int) -> frames.Frame:
    return HEADER, 1, struct.pack('>HHQH', 60, 0, size, 0)


def body(data: bytes) -> frames.Frame:
    return BODY, 1, data


@pytest.fixture
def got() -> list[deliveries.Delivery]:
    return []


@pytest.fixture
def others() -> list[frames.Frame]:
    return []


@pytest.fixture
def assembler(got, others) -> deliveries.Assembler:
    return deliveries.Assembler(1, 10, got.append, others.append)


def test_pieces_are_joined(assembler, got):
    for frame in (deliver(7), header(6), body(b'abc'), body(b'def')):
        assembler.feed(frame)
    for frame in (deliver(8), header(0), deliver(9), header(1), body(b'x')):
        assembler.feed(frame)

    assert got == [(7, 6, b'abcdef'), (8, 0, b''), (9, 1, b'x')]


def test_of_what_is_too_large_only_the_size_is_kept(assembler, got):
    assembler.feed(deliver(7))
    assembler.feed(header(1000))
    for _ in range(10):
        assembler.feed(body(b'x' * 100))
        assert assembler._pieces == []

    assert got == [(7, 1000, None)]


def test_other_frames_are_passed_on(assembler, got, others):
    ack = (METHOD, 1, struct.pack('>HH', 60, 31))
    beat = (8, 0, b'')
    for frame in (deliver(1), beat, header(1), beat, body(b'x'), ack):
        assembler.feed(frame)

    assert others == [beat, beat, ack]
    assert got == [(1, 1, b'x')]


@pytest.mark.parametrize(
    'stream',
    [
        [header(3)],
        [body(b'x')],
        [deliver(1), body(b'x')],
        [deliver(1), header(1), body(b'xy')],
    ],
)
def test_a_stream_that_is_out_of_step_is_an_error(assembler, stream):
    *before, last = stream
    for frame in before:
        assembler.feed(frame)
    with pytest.raises(frames.BadFrame):
        assembler.feed(last)

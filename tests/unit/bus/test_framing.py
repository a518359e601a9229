# SPDX-License-Identifier: Apache-2.0
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent.bus import framing

BODY = st.binary(max_size=200).map(lambda body: body.replace(b'\xff', b'\xfe'))
FRAME = st.tuples(st.sampled_from(['ping', 'deliver', 'ż\n']), st.integers(), BODY)
#: What may stand between frames: even what looks like the beginning of one.
GARBAGE = st.binary(max_size=100) | st.just(b'\xff0000') | st.just(b'\xff' * 40)


def encode(frame):
    op, number, body = frame
    return framing.encode({'op': op, 'n': number}, body)


def plain(frames):
    return [(frame.op, frame.header['n'], frame.body) for frame in frames]


def feed_in_pieces(decoder, stream, cuts):
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:end])
    return got


def draw_cuts(data, stream):
    return sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))


@given(sent=st.lists(FRAME, max_size=6), data=st.data())
def test_frames_come_out_however_the_stream_is_cut(sent, data):
    stream = b''.join(encode(frame) for frame in sent)
    decoder = framing.Decoder(1000)

    got = feed_in_pieces(decoder, stream, draw_cuts(data, stream))

    assert plain(got) == sent
    assert (decoder.skipped, decoder.broken, decoder.pending) == (0, 0, 0)


@given(sent=st.lists(st.tuples(GARBAGE, FRAME), min_size=1, max_size=6), data=st.data())
def test_no_frame_is_lost_to_garbage_before_it(sent, data):
    stream = b''.join(garbage + encode(frame) for garbage, frame in sent)
    decoder = framing.Decoder(1000)

    got = feed_in_pieces(decoder, stream, draw_cuts(data, stream))

    assert plain(got) == [frame for _, frame in sent]
    assert decoder.skipped == sum(len(garbage) for garbage, _ in sent)


@given(first=FRAME, rest=st.lists(FRAME, min_size=1, max_size=4), data=st.data())
def test_a_frame_that_was_cut_takes_no_other_along(first, rest, data):
    whole = encode(first)
    gone = data.draw(st.integers(0, len(whole) - 1))
    until = data.draw(st.integers(gone + 1, len(whole)))
    stream = whole[:gone] + whole[until:] + b''.join(encode(frame) for frame in rest)

    got = plain(framing.Decoder(1000).feed(stream))

    assert got[-len(rest) :] == rest
    assert len(got) == len(rest)


@given(frame=FRAME, place=st.integers(0), flip=st.integers(1, 255))
def test_a_damaged_frame_is_none(frame, place, flip):
    damaged = bytearray(encode(frame))
    damaged[place % len(damaged)] ^= flip
    later = ('ping', 1, b'')

    got = plain(framing.Decoder(1000).feed(bytes(damaged) + encode(later)))

    assert got == [later]


@given(stream=st.binary(max_size=2000))
def test_garbage_holds_no_memory(stream):
    decoder = framing.Decoder(1000)

    assert list(decoder.feed(stream)) == []
    assert decoder.pending + decoder.skipped == len(stream)


def test_a_giant_frame_is_skipped_by_its_first_bytes():
    decoder = framing.Decoder(1000)
    giant = framing.encode({'op': 'a', 'n': 0}, b'x' * (framing.HEADER_MAX + 1001))

    assert list(decoder.feed(giant[:5000])) == []
    assert decoder.pending == 0
    assert 'at most 66536 are taken' in decoder.problem
    assert plain(decoder.feed(giant[5000:] + encode(('b', 1, b'')))) == [('b', 1, b'')]
    assert decoder.broken == 1


def test_the_largest_body_is_taken():
    body = b'x' * 1000

    assert plain(framing.Decoder(1000).feed(encode(('a', 1, body)))) == [('a', 1, body)]


@pytest.mark.parametrize(
    'payload',
    [b'[1]\n', b'{}\n', b'{"op": 1}\n', b'{', b'\n', b'"op"', b'[' * 100_000, b'\xc3('],
)
def test_a_header_that_is_none(payload):
    decoder = framing.Decoder(1_000_000)
    frame = b'\xff%08x%08x%b' % (len(payload), zlib.crc32(payload), payload)

    assert plain(decoder.feed(frame + encode(('a', 1, b'')))) == [('a', 1, b'')]
    assert (decoder.broken, decoder.skipped) == (1, len(frame))


def test_what_cannot_be_sent():
    with pytest.raises(framing.Unsendable, match='0xff'):
        framing.encode({'op': 'a'}, b'\xff')
    with pytest.raises(framing.Unsendable, match='not JSON'):
        framing.encode({'op': object()})


def test_a_header_that_is_too_long_is_no_frame():
    decoder = framing.Decoder(2**20)
    long = framing.encode({'op': 'x', 'y': 'z' * framing.HEADER_MAX})
    good = framing.encode({'op': 'good'})

    assert [frame.op for frame in decoder.feed(long + good)] == ['good']
    assert (decoder.broken, decoder.skipped) == (1, len(long))


def test_a_header_without_end_cannot_be_written():
    endless = {'op': 'x'}
    endless['self'] = endless
    with pytest.raises(framing.Unsendable, match='not JSON'):
        framing.encode(endless)

# SPDX-License-Identifier: Apache-2.0
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent.bus import frames

FRAME = st.tuples(
    st.sampled_from([1, 2, 3, 8]), st.integers(0, 65535), st.binary(max_size=300)
)


def encode(kind, channel, payload):
    return struct.pack('>BHI', kind, channel, len(payload)) + payload + b'\xce'


@given(sent=st.lists(FRAME, max_size=6), data=st.data())
def test_frames_come_out_however_the_stream_is_cut(sent, data):
    stream = b''.join(encode(*frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    splitter = frames.Splitter(131072)

    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])

    assert got == sent


def test_a_wrong_end_octet_is_refused():
    splitter = frames.Splitter(131072)
    with pytest.raises(frames.BadFrame, match='0x00'):
        list(splitter.feed(encode(1, 0, b'abc')[:-1] + b'\0'))


def test_a_giant_frame_is_refused_by_its_header():
    splitter = frames.Splitter(4096)
    with pytest.raises(frames.BadFrame, match='4089 bytes'):
        list(splitter.feed(struct.pack('>BHI', 3, 1, 4089)))


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_garbage_ends_in_frames_or_in_bad_frame(pieces):
    splitter = frames.Splitter(1024)
    try:
        for piece in pieces:
            for _kind, _channel, payload in splitter.feed(piece):
                assert len(payload) <= 1016
    except frames.BadFrame:
        pass

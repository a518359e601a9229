# SPDX-License-Identifier: Apache-2.0
import base64

import hypothesis
from guestagent_exec import output
from hypothesis import strategies


def collected(chunks, limit):
    stream = output.Output(limit)
    for chunk in chunks:
        stream.feed(chunk)
    return stream.result('stdout')


def decoded(result):
    if result['stdout_encoding'] == 'base64':
        return base64.b64decode(result['stdout'], validate=True)
    assert result['stdout_encoding'] == 'utf-8'
    return result['stdout'].encode()


@hypothesis.given(strategies.lists(strategies.binary()), strategies.integers(0, 60))
def test_any_bytes_come_back_as_a_prefix_with_the_right_marks(chunks, limit):
    whole = b''.join(chunks)

    result = collected(chunks, limit)

    assert result['stdout_bytes'] == len(whole)
    assert result['stdout_truncated'] == (len(whole) > limit)
    kept = decoded(result)
    assert whole.startswith(kept)
    # Less than the limit only by the rest of a character.
    assert len(kept) <= limit
    assert len(kept) > min(limit, len(whole)) - 4
    if not result['stdout_truncated']:
        assert kept == whole


@hypothesis.given(
    strategies.text(), strategies.integers(0, 60), strategies.integers(1, 7)
)
def test_text_stays_text_wherever_it_is_split_or_cut(text, limit, size):
    whole = text.encode()
    chunks = [whole[n : n + size] for n in range(0, len(whole), size)]

    result = collected(chunks, limit)

    assert result['stdout_encoding'] == 'utf-8'
    assert text.startswith(result['stdout'])


def test_a_cut_character_in_what_is_whole_is_no_text():
    result = collected([b'caf\xc3'], 100)

    assert result['stdout_encoding'] == 'base64'
    assert decoded(result) == b'caf\xc3'


def test_bytes_that_are_no_text_before_the_cut_stay_bytes():
    result = collected([b'\xff caf\xc3\xa9'], 6)

    assert result == {
        'stdout': base64.b64encode(b'\xff caf\xc3').decode(),
        'stdout_encoding': 'base64',
        'stdout_truncated': True,
        'stdout_bytes': 7,
    }

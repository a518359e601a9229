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


@hypothesis.given(
    strategies.binary(max_size=300),
    strategies.integers(0, 40),
    strategies.integers(1, 40),
    strategies.lists(
        strategies.tuples(strategies.booleans(), strategies.integers(1, 50))
    ),
    strategies.none() | strategies.integers(0, 30),
)
def test_who_reads_along_loses_nothing(whole, limit, window, steps, budget):
    stream = output.Output(
        limit, window, None if budget is None else output.Budget(budget)
    )
    written, seen = 0, b''
    stream.attach('me', 0, 0.0)
    for writes, count in [*steps, *[(True, 50), (False, 50)] * 300]:
        if writes:
            chunk = whole[written : written + min(count, stream.room(0.0))]
            written += len(chunk)
            stream.feed(chunk)
        else:
            data, begins = stream.read(len(seen), count)
            assert begins == len(seen)
            seen += data
            stream.attach('me', len(seen), 0.0)
        assert len(stream._tail) <= window
        assert len(stream._head) <= limit
    assert seen == whole
    assert whole.startswith(stream._head)


def test_readers_are_forgotten_in_time_and_number():
    stream = output.Output(0, 10)
    stream.feed(b'x' * 10)
    stream.attach('slow', 0, 100.0)
    assert stream.room(100.0) == 0
    assert stream.leaves() == 100.0 + output.READER_SECONDS
    assert stream.room(100.0 + output.READER_SECONDS) > 2**40
    for number in range(output.READERS + 5):
        stream.attach(f'reader {number}', number, 200.0)
    # The first five are not waited for.
    assert stream.room(200.0) == 5

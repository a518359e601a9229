# SPDX-License-Identifier: Apache-2.0
"""What lines of authorized_keys mean: keys, options, comments, and all else."""

import base64
import shutil
import subprocess

import pytest
from guestagent_accounts import keylines

from guestagent import errors


def blob(kind, value=b'x' * 32):
    """Return a key as OpenSSH writes it."""
    name = kind.encode()
    return base64.b64encode(len(name).to_bytes(4, 'big') + name + value).decode()


def key(kind='ssh-ed25519', value=b'x' * 32, comment=''):
    return f'{kind} {blob(kind, value)} {comment}'.strip()


ED25519, ECDSA = 'ssh-ed25519', 'ecdsa-sha2-nistp256'


@pytest.mark.parametrize(
    'kind',
    [
        'ssh-rsa',
        ED25519,
        ECDSA,
        'sk-ssh-ed25519@openssh.com',
        'ssh-rsa-cert-v01@openssh.com',
        'a-kind-of-tomorrow',
    ],
)
def test_a_key_of_any_kind(kind):
    assert keylines.parse(key(kind)) == keylines.Line('', (kind, blob(kind)))
    assert keylines.parse(f' \t{key(kind)}\tme@there \r') == keylines.Line(
        '', (kind, blob(kind))
    )


@pytest.mark.parametrize(
    'options',
    [
        'restrict',
        'cert-authority,no-pty',
        'command="echo hello world",no-pty',
        r'command="say \"a b\" # c",from="10.0.0.0/8 ,::1"',
        'environment="A=ssh-rsa AAAA"',
    ],
)
def test_options_come_first(options):
    line = keylines.parse(f'{options} {key()} comment')
    assert line == keylines.Line(options, (ED25519, blob(ED25519)))


@pytest.mark.parametrize(
    'text',
    [
        '',
        '# a comment',
        f'#{key()}',
        'ssh-rsa',
        'ssh-rsa AAAA',
        f'ssh-rsa {blob(ED25519)}',
        f'ssh-ed25519 {blob(ED25519)[:-3]}',
        f'ssh-ed25519 {blob(ED25519)[:-8]}*{blob(ED25519)[-8:]}',
        blob(ED25519),
        f'two options {key()}',
        f'command="open {key()}',
        '-----BEGIN OPENSSH PRIVATE KEY-----',
        'alice ssh\ud800rsa AAAA',
    ],
)
def test_what_is_no_key(text):
    assert keylines.parse(text) is None
    if text:
        with pytest.raises(errors.InvalidArgument, match=r'^keys: '):
            keylines.check([key(), text])


@pytest.mark.parametrize('sign', ['\n', '\0', '\r', '\x1b', '\x85', '\u2028', '\ud800'])
def test_one_line_of_text_and_no_more(sign):
    for text in (f'{key()} a{sign}b', f'{key()}{sign}{key()}'):
        with pytest.raises(errors.InvalidArgument, match='not one line of printable'):
            keylines.check([text])


def test_a_line_that_is_too_long():
    with pytest.raises(errors.InvalidArgument, match='is too long') as caught:
        keylines.check([f'{key()} {"a" * 9000}'])
    assert len(str(caught.value)) < 100


def test_empty_lines_do_not_count():
    assert keylines.check(['', '\n', f' {key()} \r\n', ' ']) == [key()]


def test_what_is_there_is_not_added_again():
    other = key(value=b'y' * 32)
    lines = ['# mine', key(comment='old'), f'no-pty {other}', 'rubbish']

    assert keylines.added(lines, [key(comment='new'), key()]) == []
    # The same key with fewer restrictions is something else.
    assert keylines.added(lines, [other, other, f'{other} again']) == [other]
    assert keylines.added([], [key(), f'no-pty {key()}']) == [key(), f'no-pty {key()}']


def test_a_key_goes_with_all_its_lines_and_nothing_else():
    other = key(ECDSA)
    lines = ['# mine', key(comment='a'), '', f'no-pty {key()} b', other, 'rubbish']

    left = ['# mine', '', other, 'rubbish']
    assert keylines.without(lines, [key(comment='c')]) == left
    assert keylines.without(lines, [f'from="x" {key()}', 'rubbish']) == left[:-1]
    assert keylines.without(lines, []) == lines


def test_comments_and_empty_lines_are_not_listed():
    lines = ['# mine', f' {key()} a ', '', '\t', 'rubbish']
    assert keylines.listed(lines) == [f'{key()} a', 'rubbish']


def test_quotes_without_end_take_no_time():
    assert keylines.parse('\\"' * 100_000 + ' "\\' * 100_000) is None


@pytest.mark.skipif(shutil.which('ssh-keygen') is None, reason='needs ssh-keygen')
@pytest.mark.parametrize('kind', ['ed25519', 'ecdsa', 'rsa'])
def test_keys_of_openssh(kind, tmp_path):
    subprocess.run(
        ['ssh-keygen', '-q', '-t', kind, '-N', '', '-C', 'a b', '-f', tmp_path / 'id'],
        check=True,
        timeout=60,
    )
    text = (tmp_path / 'id.pub').read_text()
    assert keylines.check([text]) == [text.strip()]

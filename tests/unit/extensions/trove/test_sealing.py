# SPDX-License-Identifier: Apache-2.0
"""Trove's cipher, and what is taken that was sealed with it."""

import base64
import concurrent.futures
import json
import os

import pytest
from guestagent_trove import cipher, sealing

from guestagent import errors


@pytest.fixture
def key():
    return os.urandom(16).hex()


@pytest.fixture
def seal(key):
    return sealing.Seal('vm', key)


def plane(key, value):
    """Return a value as the control plane encrypts it."""
    return cipher.Cipher(key).encrypt(json.dumps(value))


def sealed(key, **args):
    context = {'context': plane(key, {'user_id': 'me'})}
    return {name: plane(key, value) for name, value in args.items()}, context


def test_the_cipher_is_aes_256_cbc():
    # NIST SP 800-38A, F.2.5.
    secret = bytes.fromhex(
        '603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4'
    )
    iv = bytes(range(16))
    plain = bytes.fromhex('6bc1bee22e409f96e93d7e117393172a')
    made = bytes.fromhex('f58c4c04d6e5f1ba779eabfb5f7bfbd6')

    encrypt = cipher._Blocks(secret, encrypt=True)
    decrypt = cipher._Blocks(secret, encrypt=False)
    # More than once, as what is kept between two is the key only.
    for _ in range(2):
        assert encrypt(iv, plain) == made
        assert decrypt(iv, made) == plain


def test_a_cipher_is_for_all_threads(key):
    mine = cipher.Cipher(key)
    texts = [f'{number}' * 100 for number in range(400)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: mine.decrypt(mine.encrypt(text)), texts))

    assert found == texts


@pytest.mark.parametrize('text', ['', 'x', 'x' * 15, 'x' * 16, 'grün', 'x' * 100000])
def test_what_is_encrypted_is_decrypted(key, text):
    mine = cipher.Cipher(key)

    assert mine.decrypt(mine.encrypt(text)) == text
    assert mine.encrypt(text) != mine.encrypt(text)


@pytest.mark.parametrize(
    'text',
    [
        None,
        7,
        '',
        'no base64',
        base64.b64encode(b'x' * 16).decode(),
        base64.b64encode(b'x' * 33).decode(),
        base64.b64encode(b'x' * 48).decode() + '\n',
    ],
)
def test_what_nobody_has_encrypted_is_refused(key, text):
    with pytest.raises(cipher.Unopened):
        cipher.Cipher(key).decrypt(text)


def test_a_request_is_opened_and_its_caller_is_trove(key, seal):
    args, context = sealed(key, limit=3, marker=None)
    opened = seal.open(args, context)

    assert opened.caller == 'trove'
    assert opened.args == {'limit': 3, 'marker': None}
    assert opened.values == {'user_id': 'me'}
    assert json.loads(cipher.Cipher(key).decrypt(opened.seal([1, 'a']))) == [1, 'a']


def test_another_key_opens_nothing(key, seal):
    for _ in range(300):  # by chance one in 256 has a padding that looks right
        with pytest.raises(errors.Refused):
            seal.open(*sealed(os.urandom(16).hex()))


@pytest.mark.parametrize('context', [{}, {'context': None}, {'user_id': 'me'}])
def test_a_context_without_its_seal_is_refused(key, seal, context):
    args, _ = sealed(key)
    with pytest.raises(errors.Refused):
        seal.open(args, context)


@pytest.mark.parametrize('args', [{'limit': 3}, {'limit': 'x'}, {'a': None}, None, []])
def test_plain_arguments_are_refused(key, seal, args):
    _, context = sealed(key)
    with pytest.raises(errors.Refused):
        seal.open(args, context)


def test_a_cast_to_the_conductor_names_the_instance_in_each_value(key, seal):
    args, context = seal.cast({'payload': {'a': 1}}, {'user_id': 'me'})

    value = json.loads(args['payload'])
    assert value['csz-instance-id'] == context['csz-instance-id'] == 'vm'
    mine = cipher.Cipher(key)
    assert json.loads(mine.decrypt(value['entity'])) == {'a': 1}
    assert json.loads(mine.decrypt(context['context'])) == {'user_id': 'me'}

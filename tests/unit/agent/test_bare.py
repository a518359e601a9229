# SPDX-License-Identifier: Apache-2.0
"""Requests that name no namespace, and an extension that answers and opens them."""

import types

import pytest

from guestagent import errors, extension
from guestagent.agent import registry
from guestagent.testing import agent


class Odd(extension.Extension):
    """Has a seal of its own: each value is written backwards."""

    bare = True
    version = '1.3'

    def unseal(self, args, values):
        if values.get('seal') == 'none':
            return None
        if values.get('seal') != 'good':
            raise errors.Refused('it is not sealed')
        opened = {name: value[::-1] for name, value in args.items()}
        return extension.Opened('odd', opened, {'who': 'me'}, lambda value: value[::-1])

    @extension.command(mutates=True)
    def turn(self, context: extension.Context, text: str) -> str:
        return f'{text} {context.caller or "nobody"} {context.values.get("who")}'

    @extension.command(mutates=False)
    def huge(self, context: extension.Context) -> str:
        return 'x' * 2000

    @extension.command(mutates=False)
    def broken(self, context: extension.Context) -> str:
        raise errors.GuestError('it is broken')


def sealed(guest, method, seal='good', version=None, **args):
    """Send a request without a namespace, with the word ``seal`` as its context."""
    sent = guest.send(method, args, version=version, context={'seal': seal})
    guest.wait(lambda: sent.answered)
    return sent.result()


@pytest.fixture
def guest():
    options = {'seal': {'allow_plain': False}, 'dispatcher': {'max_result_size': 1024}}
    with agent.Agent({'odd': Odd}, options=options) as made:
        yield made


def test_what_is_sealed_counts_as_proven_and_the_result_is_sealed(guest):
    assert sealed(guest, 'turn', text='cba') == 'em ddo cba'


@pytest.mark.parametrize('version', ['1.0', '1.3'])
def test_the_extension_has_the_version(guest, version):
    assert sealed(guest, 'turn', version=version, text='a')


@pytest.mark.parametrize('version', ['1.4', '2.0'])
def test_a_version_that_it_has_not_is_refused(guest, version):
    with pytest.raises(errors.UnsupportedVersion):
        sealed(guest, 'turn', version=version, text='a')


def test_an_unknown_method_is_refused(guest):
    with pytest.raises(errors.NoSuchMethod):
        sealed(guest, '_turn', text='a')


def test_what_does_not_open_gets_no_answer(guest):
    refused = guest.send('turn', {'text': 'a'}, context={'seal': 'bad'})

    # What comes behind it is answered, so it was looked at.
    assert sealed(guest, 'turn', text='a')
    assert not refused.replies


@pytest.mark.parametrize('method', [['turn'], {}, None, 7])
def test_what_is_no_name_of_a_method_is_opened_first_too(method):
    known = registry.Registry(None, extension.Host())
    known.make('odd', Odd, 'here')
    known.add(None, types.SimpleNamespace(commands={'ping': None}))

    # So who cannot seal hears nothing of it.
    assert known.bare(method).name == 'odd'
    assert known.bare('ping') is None


def test_plain_requests_change_nothing_without_allow_plain(guest):
    with pytest.raises(errors.Refused):
        sealed(guest, 'turn', seal='none', text='a')


def test_a_failure_is_not_sealed(guest):
    with pytest.raises(errors.GuestError, match='it is broken'):
        sealed(guest, 'broken')


def test_a_result_that_is_too_large_is_told(guest):
    with pytest.raises(errors.ResultTooLarge, match='1024'):
        sealed(guest, 'huge')


def test_ping_stays_the_agents_own(guest):
    assert guest.call('oslo_rpc_server_ping') == 'pong'


def test_in_its_namespace_nothing_is_opened(guest):
    with pytest.raises(errors.Refused):
        guest.call('odd.turn', {'text': 'a'})


def test_two_that_answer_without_a_namespace_stop_the_start():
    known = registry.Registry(None, extension.Host())
    known.make('one', Odd, 'here')

    with pytest.raises(errors.ConfigError, match='one and two'):
        known.make('two', Odd, 'here')

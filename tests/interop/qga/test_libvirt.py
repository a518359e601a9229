# SPDX-License-Identifier: Apache-2.0
"""What Debian's libvirt says, verb by verb as ``libvirt/record.py`` has heard it.

What does no harm is said to the real program; the rest to a guest whose extensions are
stand-ins, and what reaches these is looked at.
"""

import base64
import json
import pathlib

import pytest
from guestagent_qga import checking, guest, schema, session, state

from tests.interop.qga import agents

pytestmark = pytest.mark.functional

SAID = json.loads(
    pathlib.Path(__file__).with_name('libvirt').joinpath('said.json').read_text()
)
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq1 alice@example.org'
#: The verbs that only look, and what ours makes virsh print the same way.
HARMLESS = (
    'domtime vm',
    'domhostname vm',
    'domifaddr vm --source agent',
    'domfsinfo vm',
    'guestinfo vm',
    'guestvcpus vm',
    'qemu-agent-command vm {"execute":"guest-ping"}',
    'qemu-agent-command vm {"execute":"guest-nothing"}',
)
#: What reaches the extensions of all the others.
CALLS = {
    'domtime vm --now': [('power', 'set_time', {'nanoseconds': int})],
    'domtime vm --sync': [('power', 'set_time', {})],
    'guestvcpus vm --cpulist 1 --disable': [
        ('hardware', 'cpus', {}),
        ('hardware', 'set_cpus', {'cpus': [{'id': 1, 'online': False}]}),
    ],
    'setvcpus vm 1 --guest': [
        ('hardware', 'cpus', {}),
        ('hardware', 'set_cpus', {'cpus': [{'id': 1, 'online': False}]}),
    ],
    'domfsfreeze vm': [('fsfreeze', 'freeze', {})],
    'domfsthaw vm': [('fsfreeze', 'thaw', {})],
    'domfsfreeze vm --mountpoint /data --mountpoint /srv': [
        ('fsfreeze', 'freeze', {'mountpoints': ['/data', '/srv']})
    ],
    'domfstrim vm --minimum 4096': [('fsfreeze', 'trim', {'minimum': 4096})],
    'set-user-password vm alice hunter2-frühling': [
        (
            'accounts',
            'set_password',
            {'user': 'alice', 'password': 'hunter2-frühling', 'crypted': False},
        )
    ],
    'set-user-password vm alice $6$hash --encrypted': [
        (
            'accounts',
            'set_password',
            {'user': 'alice', 'password': '$6$hash', 'crypted': True},
        )
    ],
    'get-user-sshkeys vm alice': [('accounts', 'list_keys', {'user': 'alice'})],
    # The file's last line end makes an empty key, which must do no harm.
    'set-user-sshkeys vm alice --file KEYS': [
        ('accounts', 'add_keys', {'user': 'alice', 'keys': [KEY, ''], 'replace': False})
    ],
    'set-user-sshkeys vm alice --file KEYS --reset': [
        ('accounts', 'add_keys', {'user': 'alice', 'keys': [KEY, ''], 'replace': True})
    ],
    'set-user-sshkeys vm alice --file KEYS --remove': [
        ('accounts', 'remove_keys', {'user': 'alice', 'keys': [KEY, '']})
    ],
    'dompmsuspend vm mem': [('power', 'suspend', {'kind': 'ram'})],
    'reboot vm --mode agent': [('power', 'shutdown', {'mode': 'reboot'})],
    'shutdown vm --mode agent': [('power', 'shutdown', {'mode': 'poweroff'})],
}
ANSWERS = {
    'power.set_time': {},
    'power.suspend': {},
    'power.shutdown': {},
    'hardware.cpus': [
        {'id': 0, 'online': True, 'can_offline': False},
        {'id': 1, 'online': True, 'can_offline': True},
    ],
    'hardware.set_cpus': {'changed': 1},
    'fsfreeze.freeze': {'count': 2, 'frozen': ['/', '/data'], 'thaws_at': 0},
    'fsfreeze.thaw': {'count': 2},
    'fsfreeze.status': {'state': 'thawed'},
    'fsfreeze.trim': {'paths': [{'path': '/', 'trimmed': 4096, 'minimum': 4096}]},
    'accounts.set_password': None,
    'accounts.list_keys': {'keys': [KEY], 'path': '', 'exists': True},
    'accounts.add_keys': {'added': 1},
    'accounts.remove_keys': {'removed': 1},
}
VERBS = {each['virsh']: each for each in SAID['verbs']}


class Standin:
    """Extensions that do nothing, well."""

    def __init__(self):
        self.calls = []

    def call(self, namespace, method, args):
        self.calls.append((namespace, method, dict(args)))
        return ANSWERS[f'{namespace}.{method}']

    def serves(self, namespace):
        return True

    def submit(self, function):
        function()


def requests_of(verb):
    return [
        text.encode('latin-1') for who, text in VERBS[verb]['talk'] if who == 'libvirt'
    ]


def check(request, answer):
    """Hold an answer against the type that the command returns."""
    asked = json.loads(request)
    command = schema.COMMANDS.get(asked['execute'])
    if command is None:
        assert answer['error']['class'] == 'CommandNotFound'
        return
    assert set(answer) == {'return'}, answer
    if command.returns:
        member = schema.Member('return', command.returns, False)
        checking.check(command._replace(arguments=(member,)), answer)
    if asked['execute'] == 'guest-sync':
        assert answer['return'] == asked['arguments']['id']


def test_each_verb_is_looked_at():
    assert {*HARMLESS, *CALLS} == set(VERBS)


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
    with agents.running(agents.OURS, tmp_path_factory.mktemp('ours')) as (_, path):
        client = agents.Client(path)
        yield client
        client.close()


@pytest.mark.parametrize('verb', HARMLESS)
def test_what_only_looks_is_answered_as_libvirt_needs_it(ours, verb):
    assert requests_of(verb)
    for request in requests_of(verb):
        ours.send(request)
        line = ours.line()

        # One object on one line, and small: a larger one ends the channel there.
        assert len(line) < 4 * 2**20
        check(request, json.loads(line))


@pytest.mark.parametrize('verb', CALLS)
def test_what_changes_the_guest_reaches_the_extensions(tmp_path, verb):
    native, sent = Standin(), []
    made = guest.Guest(native, guest.Settings('10.2.2'), state.State(str(tmp_path)))
    client = session.Session(
        made,
        native,
        lambda line: sent.append(b''.join(_bytes(each) for each in line)),
        lambda call, *args: call(*args),
    )
    made.frozen = 'thaw' in verb

    for request in requests_of(verb):
        sent.clear()
        client.feed(request)
        answered = b''.join(sent)
        if schema.COMMANDS[json.loads(request)['execute']].answers:
            check(request, json.loads(answered))
        else:
            # What libvirt waits for then is the machine's own event.
            assert answered == b''

    assert len(native.calls) == len(CALLS[verb])
    for found, wanted in zip(native.calls, CALLS[verb], strict=True):
        assert found[:2] == wanted[:2]
        assert found[2].keys() == wanted[2].keys()
        for name, value in wanted[2].items():
            if isinstance(value, type):
                assert isinstance(found[2][name], value)
            else:
                assert found[2][name] == value


def _bytes(piece):
    return piece.encode('ascii') if isinstance(piece, str) else piece


def test_the_recorded_password_was_text_in_base64():
    (request,) = [
        each
        for each in requests_of('set-user-password vm alice hunter2-frühling')
        if b'password' in each
    ]

    assert base64.b64decode(json.loads(request)['arguments']['password']) == (
        'hunter2-frühling'.encode()
    )

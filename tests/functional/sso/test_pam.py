# SPDX-License-Identifier: Apache-2.0
"""The PAM module and its socket, in a real PAM stack; doc/sso.rst names the rules."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from guestagent_sso import handover, offer

from tests.functional.sso import pam

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(
        os.geteuid() != 0
        or not pathlib.Path('/usr/include/security/pam_modules.h').exists()
        or None in map(shutil.which, ('make', 'cc')),
        reason='needs root, make, a C compiler and the headers of PAM',
    ),
]

PASSWORD = 'hunter2 of alice'
TOKEN = 'x' * 43


@pytest.fixture(scope='module')
def module(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return pam.build(tmp_path_factory.mktemp('pam'))


class Offered:
    """Credentials on a socket, for a time."""

    def __init__(
        self, folder: pathlib.Path, offered: offer.Offer, seconds: float, uid: int
    ) -> None:
        self.path = folder / handover.NAME
        self._listener = handover.Listener(str(folder), uid)
        self._stopped = False
        self.taken: bool | None = None
        self._thread = threading.Thread(target=self._serve, args=(offered, seconds))
        self._thread.start()

    def _serve(self, offered: offer.Offer, seconds: float) -> None:
        self.taken = self._listener.serve(offered, seconds, lambda: self._stopped)
        self._listener.close()

    def end(self) -> bool | None:
        self._stopped = True
        self._thread.join(60)
        return self.taken


Offering = Callable[..., Offered]


@pytest.fixture
def offering(tmp_path: pathlib.Path) -> Iterator[Offering]:
    made: list[Offered] = []

    def begin(offered: offer.Offer, seconds: float = 60, uid: int = 0) -> Offered:
        made.append(Offered(tmp_path / 'sso', offered, seconds, uid))
        return made[-1]

    yield begin
    for one in made:
        one.end()


def test_the_next_module_gets_user_and_password_once(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    given = offer.Offer('alice@example.org', PASSWORD, 'seat0')
    offered = offering(given)
    words = (module, f'socket={offered.path}', given.token)
    first = pam.authenticate(tmp_path / 'first', *words)
    assert first.code == pam.SUCCESS
    assert first.prompts == ['Token?']
    assert first.user == 'alice@example.org'
    assert first.given == ('alice@example.org', pam.digest(PASSWORD))
    # A second use.
    second = pam.authenticate(tmp_path / 'second', *words)
    assert (second.code, second.given) == (pam.CRED_UNAVAIL, None)
    assert offered.end() is True
    assert not offered.path.exists()


def test_a_domain_is_dropped_where_there_is_a_local_user(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    given = offer.Offer('daemon@example.org', PASSWORD, 'seat0')
    words = (module, f'socket={offering(given).path}', given.token)
    found = pam.authenticate(tmp_path / 'one', *words)
    assert found.given == ('daemon', pam.digest(PASSWORD))


@pytest.mark.parametrize('token', ['', 'x' * 42, TOKEN, 'x' * 5000, 'é' * 43])
def test_another_token_gets_nothing_and_takes_nothing_away(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path, token: str
) -> None:
    given = offer.Offer('alice', PASSWORD, 'seat0')
    path = offering(given).path
    wrong = pam.authenticate(tmp_path / 'wrong', module, f'socket={path}', token)
    assert wrong.code == (pam.CRED_UNAVAIL if token == TOKEN else pam.AUTH_ERR)
    assert (wrong.user, wrong.given) == (None, None)
    right = pam.authenticate(tmp_path / 'right', module, f'socket={path}', given.token)
    assert right.code == pam.SUCCESS


@pytest.mark.parametrize(
    ('user', 'named', 'code'),
    [
        ('alice', 'alice', pam.SUCCESS),
        ('alice@example.org', 'alice', pam.SUCCESS),
        ('alice', 'bob', pam.CRED_UNAVAIL),
        ('alice', 'alice@example.org', pam.CRED_UNAVAIL),
    ],
)
def test_the_screen_of_another_is_not_unlocked(
    module: pathlib.Path,
    offering: Offering,
    tmp_path: pathlib.Path,
    user: str,
    named: str,
    code: int,
) -> None:
    given = offer.Offer(user, PASSWORD, 'seat0')
    path = offering(given).path
    found = pam.authenticate(
        tmp_path / 'one', module, f'socket={path}', given.token, named
    )
    assert found.code == code
    assert found.user == named
    expected = (named, pam.digest(PASSWORD)) if code == pam.SUCCESS else None
    assert found.given == expected


def test_another_seat_gets_nothing(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    given = offer.Offer('alice', PASSWORD, 'seat0')
    path = offering(given).path
    found = pam.authenticate(
        *(tmp_path / 'one', module, f'socket={path}', given.token),
        env={**os.environ, 'XDG_SEAT': 'seat1'},
    )
    assert found.code == pam.CRED_UNAVAIL


def test_who_comes_too_late_gets_nothing(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    given = offer.Offer('alice', PASSWORD, 'seat0')
    offered = offering(given, seconds=0.01)
    offered._thread.join(60)
    assert offered.taken is False
    words = (module, f'socket={offered.path}', given.token)
    assert pam.authenticate(tmp_path / 'one', *words).code == pam.CRED_UNAVAIL


def test_without_a_token_only_the_named_user_gets_it(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    arguments = f'without_token socket={tmp_path}/sso/{handover.NAME}'
    # The agent was not told that it may be so.
    offering(offer.Offer('alice', PASSWORD, 'seat0')).end()
    strict = offering(offer.Offer('alice', PASSWORD, 'seat0'))
    found = pam.authenticate(tmp_path / 'strict', module, arguments, '', 'alice')
    assert found.code == pam.CRED_UNAVAIL
    strict.end()

    offering(offer.Offer('alice', PASSWORD, 'seat0', without_token=True))
    for named, code in (
        ('', pam.CRED_UNAVAIL),
        ('bob', pam.CRED_UNAVAIL),
        ('alice', pam.SUCCESS),
        ('alice', pam.CRED_UNAVAIL),
    ):
        folder = tmp_path / f'{named}-{code}-{time.monotonic_ns()}'
        found = pam.authenticate(folder, module, arguments, '', named)
        assert (found.code, found.prompts) == (code, [])
        assert (found.given is not None) == (code == pam.SUCCESS)


def test_both_ends_look_who_the_other_is(
    module: pathlib.Path, offering: Offering, tmp_path: pathlib.Path
) -> None:
    given = offer.Offer('alice', PASSWORD, 'seat0')
    path = offering(given).path
    # A server that is not of whom the module trusts.
    wrong = f'socket={path} uid=12345'
    found = pam.authenticate(tmp_path / 'server', module, wrong, given.token)
    assert found.code == pam.CRED_UNAVAIL
    # The folder keeps others out; where it did not, the server does.
    path.parent.chmod(0o755)
    path.chmod(0o666)
    assert _ask_as_nobody(path, given.token) == "b''\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(path))
        client.send(f'1\0{given.token}\0seat0\0\0'.encode())
        assert client.recv(2000) == f'1\0alice\0{PASSWORD}\0'.encode()


NOBODY = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client.connect(sys.argv[1])
try:
    client.send(f'1\\0{sys.argv[2]}\\0seat0\\0\\0'.encode())
    print(client.recv(2000))
except (BrokenPipeError, ConnectionResetError):
    print(b'')  # the server did not even read
"""


def _ask_as_nobody(path: pathlib.Path, token: str) -> str:
    """Return what a process without rights is answered."""
    return subprocess.run(
        [sys.executable, '-S', '-c', NOBODY, path.name, token],
        # It could not find its way from above, where only root may enter.
        cwd=path.parent,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout


GOOD = f'1\0alice\0{PASSWORD}\0'.encode()
#: What a server could send that is not what it should, and what it does then.
HOSTILE = {
    'nothing': [],
    'no packet': [b''],
    'another version': [b'2' + GOOD[1:]],
    'no end': [GOOD[:-1]],
    'no user': [b'1\0\0hunter2\0'],
    'no password': [b'1\0alice\0\0'],
    'more': [GOOD + b'x\0'],
    'overlong': [b'1\0alice\0' + b'hunter2' * 200 + b'\0'],
    'very long': [b'1\0alice\0' + b'x' * 100000 + b'\0'],
    'repeated': [GOOD, GOOD],
}


@pytest.mark.parametrize('name', HOSTILE)
def test_what_is_no_answer_is_none(
    module: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    found = _converse(module, tmp_path, lambda client: _send(client, HOSTILE[name]))
    assert (found.code, found.user, found.given) == (pam.CRED_UNAVAIL, None, None)


def test_a_late_answer_is_none(module: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Neither one that comes too late, nor one of which the end is not seen."""
    begun = time.monotonic()
    outcomes: list[pam.Outcome] = []

    def late(client: socket.socket) -> None:
        # The module hangs up when its time is over.
        assert client.recv(1) == b''
        assert time.monotonic() - begun >= 2
        _send(client, [GOOD])

    def endless(client: socket.socket) -> None:
        client.send(GOOD)
        client.recv(1)

    def run(serve: Callable[[socket.socket], None]) -> None:
        folder = tmp_path / serve.__name__
        folder.mkdir()
        outcomes.append(_converse(module, folder, serve))

    threads = [threading.Thread(target=run, args=(each,)) for each in (late, endless)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [one.code for one in outcomes] == [pam.CRED_UNAVAIL] * 2


def test_good_answer_of_the_stand_in(
    module: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    found = _converse(module, tmp_path, lambda client: _send(client, [GOOD]))
    assert found.given == ('alice', pam.digest(PASSWORD))


def _send(client: socket.socket, packets: list[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for packet in packets:
            client.send(packet)


def _converse(
    module: pathlib.Path, folder: pathlib.Path, serve: Callable[[socket.socket], None]
) -> pam.Outcome:
    """Authenticate at a server of the test's own."""
    path = folder / 'socket'
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        words = (module, f'socket={path}', TOKEN)
        child = pam.start(folder / 'stack', *words)
        client, _address = listener.accept()
        with client:
            client.settimeout(60)
            assert client.recv(1000) == f'1\0{TOKEN}\0seat0\0\0'.encode()
            serve(client)
        return pam.finish(folder / 'stack', child)


@pytest.mark.parametrize('argument', ['uid=', 'uid=x', 'token', 'socket'])
def test_a_wrong_argument_is_refused(
    module: pathlib.Path, tmp_path: pathlib.Path, argument: str
) -> None:
    found = pam.authenticate(tmp_path / 'stack', module, argument, TOKEN)
    assert found.code == pam.SERVICE_ERR


def test_mutated_answers_under_sanitizers(tmp_path: pathlib.Path) -> None:
    assert pam.make(tmp_path, 'fuzz', 'COUNT=100000') == 'nothing found\n'

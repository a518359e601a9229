# SPDX-License-Identifier: Apache-2.0
"""Seals hold on the other buses as they do on RabbitMQ (see ../test_sealing.py)."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from devstack import processes, servers, stack
from guestagent import client, errors
from guestagent.seal import keys
from tests.functional import hubs, raw, raw_channel
from tests.functional.buses import conftest, messages

pytestmark = pytest.mark.functional

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
CONDUCTOR = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))
STRANGER = NOVA._replace(secret=os.urandom(32))


@dataclasses.dataclass
class Bed:
    """A guest with keys on one bus, and who else is there."""

    url: str
    folder: pathlib.Path
    agent: stack.Agent
    connect: Callable[[], raw.RawClient | raw_channel.RawClient]

    @property
    def instance(self) -> str:
        return self.agent.instance

    def key_file(self, *lines: keys.Line) -> str:
        return write(
            self.folder / f'{lines[0].name}-{lines[0].secret.hex()[:8]}', lines
        )

    def caller(self, line: keys.Line = NOVA) -> client.Client:
        return client.Client(url=self.url, key_file=self.key_file(line))

    def marked(self) -> list[str]:
        path = self.folder / 'marks'
        return path.read_text().split() if path.exists() else []


def write(path: pathlib.Path, lines: tuple[keys.Line, ...]) -> str:
    path.write_text(''.join(f'{line}\n' for line in lines))
    path.chmod(0o600)
    return str(path)


@pytest.fixture(scope='module', params=['channel', 'reference'])
def bed(
    request: pytest.FixtureRequest,
    rabbit: servers.RabbitMQ,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bed]:
    bus = request.param
    folder = tmp_path_factory.mktemp(f'sealed-{bus}')
    name = f'sealed-on-{bus}'
    with contextlib.ExitStack() as ending:
        if bus == 'channel':
            hub = hubs.Hub(folder, '--guest', name)
            ending.callback(hub.stop)
            url, connect = hub.url, lambda: raw_channel.RawClient(hub)
        else:
            url = rabbit.add_vhost(name)
            connect = lambda: raw.RawClient(url)  # noqa: E731
        lines = tuple(line.derive(name) for line in (NOVA, CONDUCTOR))
        options = {
            'DEFAULT': {'enabled_extensions': 'probe'},
            'bus': {'driver': conftest.BUSES[bus]},
            'probe': {'marks': folder / 'marks'},
            'seal': {'key_file': write(folder / 'guest.keys', lines)},
        }
        agent = stack.Agent(folder, url, name, options, conftest.PROBE)
        ending.callback(agent.kill)
        agent.wait_ready()
        agent.wait_line('a report was returned by the broker')
        yield Bed(url, folder, agent, connect)
        assert agent.stop() == 0


def test_calls_casts_and_failures(bed: Bed) -> None:
    with bed.caller() as guests:
        seen = guests.call(bed.instance, 'probe.seen', timeout=60)
        assert seen['caller'] == 'nova'
        before = len(bed.marked())
        guests.cast(bed.instance, 'probe.mark', {'text': 'cast'})
        processes.wait_for(lambda: bed.marked()[before:] == ['cast'], 'the cast ran')
        for command, arguments, kind in (
            ('probe.echo', {'nope': 1}, errors.InvalidArgument),
            ('agent.nope', {}, errors.NoSuchMethod),
            ('agent.describe', {'extension': 'nope'}, errors.NoSuchRecord),
        ):
            with pytest.raises(kind):
                guests.call(bed.instance, command, arguments, timeout=60)
        assert guests.ping(bed.instance, timeout=60) < 60


def test_what_is_plain_or_sealed_with_another_key_gets_no_answer(bed: Bed) -> None:
    before = bed.marked()
    topic = f'guestagent.{bed.instance}'
    with bed.connect() as stranger, bed.caller() as guests:
        to = {'_msg_id': 'm1', '_reply_q': stranger.reply_queue}
        plain = messages.request(method='mark', args={'text': 'plain'})
        stranger.send(topic, {**plain, **to})
        stranger.send(topic, plain)
        with bed.caller(STRANGER) as wrong, pytest.raises(client.NoAnswer):
            wrong.call(bed.instance, 'probe.mark', {'text': 'wrong'}, timeout=2)
        # What came later has its answer, and what came before has none.
        assert guests.call(bed.instance, 'probe.echo', {'value': 1}, timeout=60) == 1
        assert stranger.receive(0.2) is None
    assert bed.marked() == before
    bed.agent.wait_line('a request got no answer: it is not sealed')
    bed.agent.wait_line('a request got no answer: it is sealed with no key')


def test_reports_are_sealed_and_the_conductor_opens_them(bed: Bed) -> None:
    with bed.connect() as tap:
        tap.declare_reports()
        found: list[dict[str, object]] = []

        def came() -> bool:
            found.extend(tap.reports())
            return len(found) >= 2

        processes.wait_for(came, 'reports came')
    for report in found:
        assert set(report['payload']) == {'instance', 'sealed'}, report

    child = stack.Conductor(
        bed.folder, bed.url, {'seal': {'key_file': bed.key_file(CONDUCTOR)}}
    )
    try:
        child.wait_ready()
        with bed.caller() as guests:

            def is_up() -> bool:
                known = guests.conductor.instances()
                return [one['state'] for one in known] == ['UP']

            processes.wait_for(is_up, 'the conductor knows the guest', 60)
            command_id = guests.cast(bed.instance, 'probe.mark', {'text': 'told'})
            record = guests.wait(bed.instance, command_id, timeout=60)
            assert record['caller'] == 'nova'
    finally:
        child.kill()

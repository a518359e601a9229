# SPDX-License-Identifier: Apache-2.0
"""One agent for each bus, with a client of its own; they serve a module's tests."""

import contextlib
import dataclasses
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import stack
from tests.functional import hubs, raw, raw_channel

#: Of each bus, what its agent has in ``[bus] driver``.
BUSES = {'amqp': 'amqp', 'channel': 'amqp', 'reference': 'reference'}

PROBE = pathlib.Path(__file__).parents[1] / 'probe'


@dataclasses.dataclass
class Guest:
    """An agent on one of the buses, and a client that says exactly what it is told.

    :ivar url: of the bus.
    """

    bus: str
    url: str
    agent: stack.Agent
    client: raw.RawClient | raw_channel.RawClient
    marks: pathlib.Path

    @property
    def topic(self) -> str:
        return f'guestagent.{self.agent.instance}'

    def marked(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []

    def send(self, message: object) -> None:
        """Send a message, or bytes."""
        self.client.send(self.topic, message)

    def send_call(self, message: Mapping[str, object]) -> str:
        """Send a call; return the id that its reply will have."""
        msg_id = uuid.uuid4().hex
        to = {'_msg_id': msg_id, '_reply_q': self.client.reply_queue}
        self.send({**message, **to})
        return msg_id

    def call(self, message: Mapping[str, object], seconds: float = 60) -> Any:
        """Return the message of a call's reply; ``None``: none came."""
        return self.client.call(self.topic, message, seconds)

    def assert_next_answer_is_of_a_good_request(self) -> None:
        """Check that the guest lives, and that nothing sent before has an answer."""
        msg_id = self.send_call(
            {'method': 'echo', 'namespace': 'probe', 'args': {'value': 'good'}}
        )
        reply = self.client.receive(60)
        assert (reply['_msg_id'], reply['result']) == (msg_id, 'good')


@pytest.fixture(scope='module')
def guests(request, rabbit, tmp_path_factory):
    """Return ``{bus: Guest}``; their reports have had to wait for a queue."""
    folder = tmp_path_factory.mktemp('buses')
    broker = rabbit.add_vhost(f'buses-{request.module.__name__}')
    made = {}
    with contextlib.ExitStack() as ending:
        hub = hubs.Hub(folder, '--guest', 'on-channel')
        ending.callback(hub.stop)
        clients = {
            broker: ending.enter_context(raw.RawClient(broker)),
            hub.url: ending.enter_context(raw_channel.RawClient(hub)),
        }
        for bus, driver in BUSES.items():
            url = hub.url if bus == 'channel' else broker
            marks = folder / f'marks-{bus}'
            options = {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'bus': {'driver': driver},
                'dispatcher': {'workers': 2, 'backlog': 2, 'max_result_size': 2**20},
                'probe': {'marks': marks},
            }
            agent = stack.Agent(folder, url, f'on-{bus}', options, PROBE)
            ending.callback(agent.kill)
            made[bus] = Guest(bus, url, agent, clients[url], marks)
        for guest in made.values():
            guest.agent.wait_ready()
            guest.agent.wait_line('a report was returned by the broker')
        for client in clients.values():
            client.declare_reports()
        yield made
        codes = {bus: guest.agent.stop() for bus, guest in made.items()}
    assert codes == dict.fromkeys(BUSES, 0)


@pytest.fixture(params=BUSES)
def guest(request, guests):
    return guests[request.param]


@pytest.fixture
def stock():
    """``stock(guest, timeout=..., **target)``: a client as a control plane has it."""
    cfg.CONF([])
    with contextlib.ExitStack() as ending:

        def make(guest, timeout=60, **target):
            transport = oslo_messaging.get_rpc_transport(
                cfg.CONF, guest.url, allowed_remote_exmods=['guestagent.errors']
            )
            ending.callback(transport.cleanup)
            target = {'topic': guest.topic, 'namespace': 'probe', **target}
            return oslo_messaging.get_rpc_client(
                transport,
                oslo_messaging.Target(exchange='guestagent', **target),
                timeout=timeout,
            )

        yield make

# SPDX-License-Identifier: Apache-2.0
"""A real collectd's values, as they come to the conductor and to Prometheus."""

import json

import pytest

from devstack import processes
from tests.functional import operating, reports

pytestmark = pytest.mark.functional

#: Its plugin table reads a file, so that the values are known.
CONF = """
Hostname "guest"
FQDNLookup false
Interval 0.5
BaseDir "{folder}"
PIDFile "{folder}/pid"
LoadPlugin unixsock
<Plugin unixsock>
    SocketFile "{folder}/unixsock"
    SocketPerms "0600"
</Plugin>
LoadPlugin load
LoadPlugin memory
LoadPlugin table
<Plugin table>
    <Table "{folder}/values">
        Plugin "queue"
        Instance "mail"
        Separator " "
        <Result>
            Type gauge
            InstancesFrom 0
            ValuesFrom 1
        </Result>
    </Table>
</Plugin>
LoadPlugin csv
<Plugin csv>
    DataDir "{folder}/csv"
</Plugin>
"""


@pytest.fixture
def values(tmp_path, children):
    """The file of a real collectd's values: ``<name> <number>`` in each line."""
    file = tmp_path / 'values'
    file.write_text('waiting 12\nunknown nan\n')
    (tmp_path / 'collectd.conf').write_text(CONF.format(folder=tmp_path))
    children.append(
        processes.Process(
            'collectd',
            ['/usr/sbin/collectd', '-f', '-C', tmp_path / 'collectd.conf'],
            tmp_path / 'collectd.log',
        )
    )
    return file


def test_a_real_collectd_is_heard_by_everybody(
    conductor, agent, guestctl, query, values, tmp_path
):
    conductor({'conductor': {'series_step': 0.001}})
    port = processes.free_port()
    guest = agent(
        extensions='monitoring',
        options={
            'metrics': {'listen': f'127.0.0.1:{port}'},
            'monitoring': {
                'collectd_socket': tmp_path / 'unixsock',
                'collectd_values': 'queue-mail/*,load/*',
                'collectd_period': 0.5,
            },
        },
    )
    name = 'monitoring.statistics.collectd.queue-mail.gauge-waiting'

    def is_kept(number):
        told = query('series_get', instance=guest.instance, prefix=name)['series']
        return [point[1] for point in told.get(f'{name}.value', ())][-1:] == [number]

    reports.wait_state(query, guest.instance, 'UP')
    guest.wait_for(lambda: is_kept(12), 'it is a point of its series')
    values.write_text('waiting 40\n')
    guest.wait_for(lambda: is_kept(40), 'it has moved')

    prefix = 'guestagent_fact{name="monitoring.statistics.collectd.'

    def told():
        return {key for key in operating.metrics(port) if key.startswith(prefix)}

    # Its plugins read on threads of their own.
    guest.wait_for(
        lambda: told() >= {f'{prefix}load.load.longterm.value"}}'}, 'the load'
    )
    assert told() == {
        f'{prefix}queue-mail.gauge-waiting.value"}}',
        *(
            f'{prefix}load.load.{term}.value"}}'
            for term in ('shortterm', 'midterm', 'longterm')
        ),
    }
    found = operating.metrics(port)
    assert found[f'guestagent_fact{{name="{name}.value"}}'] == 40
    assert found['guestagent_extension_ok{extension="monitoring"}'] == 1
    listed = guestctl('graph', guest.instance, name.partition('.')[2], '-f', 'json')
    assert [row['value'] for row in json.loads(listed.stdout)] == [12, 40]
    facts = guestctl('facts', guest.instance, '-f', 'json').stdout
    assert name in facts

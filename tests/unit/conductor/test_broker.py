# SPDX-License-Identifier: Apache-2.0
"""What kombu is told of the brokers in ``transport_url``."""

import ssl

import pytest
from oslo_config import cfg

from guestagent import errors
from guestagent.conductor import broker, rpc
from guestagent.conf import conductor


@pytest.fixture
def hosts(tmp_path):
    """``hosts(url)``: what a conductor's configuration makes of it, by name."""

    def read(url: str) -> dict[str, dict]:
        path = tmp_path / 'conductor.conf'
        path.write_text(f'[DEFAULT]\ntransport_url = {url}\n')
        conf = cfg.ConfigOpts()
        conductor.register(conf)
        conf(['--config-file', str(path)])
        bus = rpc.transport(conf)
        return {host.name: host.parameters for host in broker.hosts(bus.conf)}

    return read


def test_each_host_has_its_account(hosts):
    found = hosts('rabbit://a:p%40ss@one:1,b:c@[::1]:2/my%2Fhost')

    assert sorted(found) == ['[::1]:2', 'one:1']
    assert found['one:1']['password'] == 'p@ss'
    assert found['[::1]:2']['hostname'] == '[::1]'
    assert found['[::1]:2']['userid'] == 'b'
    assert {host['ssl'] for host in found.values()} == {False}


def test_what_a_url_leaves_out_is_as_oslo_messaging_has_it(hosts):
    [(name, host)] = hosts('rabbit://').items()

    assert name == 'localhost:5672'
    assert (host['userid'], host['password'], host['virtual_host']) == (
        'guest',
        'guest',
        '/',
    )
    assert host['heartbeat'] == 60


def test_options_in_the_query_count(hosts):
    [host] = hosts(
        'rabbit://a:b@h:5671/?ssl=1&ssl_ca_file=/ca&heartbeat_timeout_'
        'threshold=9&rabbit_login_method=EXTERNAL'
    ).values()

    assert host['ssl'] == {
        'ca_certs': '/ca',
        'cert_reqs': ssl.CERT_REQUIRED,
        'server_hostname': 'h',
    }
    assert (host['heartbeat'], host['login_method']) == (9, 'EXTERNAL')


@pytest.mark.parametrize(
    'url',
    ['fake://', 'kombu+memory://', 'nosuch://h', 'rabbit://a:secret@h:port/', 'no url'],
)
def test_what_is_not_rabbitmq_is_refused(hosts, url):
    with pytest.raises(errors.ConfigError, match='transport_url') as caught:
        hosts(url)
    assert 'secret' not in str(caught.value)

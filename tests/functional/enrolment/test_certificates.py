# SPDX-License-Identifier: Apache-2.0
"""A guest that logs in by a certificate, and others that have the wrong one."""

import json
import pathlib
from collections.abc import Callable, Iterator

import amqp
import pytest

from devstack import certificates, processes, servers
from guestagent import client
from tests.functional.enrolment.conftest import Bed

pytestmark = pytest.mark.functional


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(scope='module')
def rabbit(
    tmp_path_factory: pytest.TempPathFactory, authority: certificates.Authority
) -> Iterator[servers.RabbitMQ]:
    """A node as doc/enrolment.rst says, in place of the one of other tests."""
    node = servers.RabbitMQ(
        tmp_path_factory.mktemp('rabbitmq'),
        {
            'auth_mechanisms.1': 'EXTERNAL',
            'auth_mechanisms.2': 'PLAIN',
            'auth_mechanisms.3': 'AMQPLAIN',
            'ssl_cert_login_from': 'common_name',
            'ssl_options.verify': 'verify_peer',
            'ssl_options.fail_if_no_peer_cert': 'false',
        },
        plugins=['rabbitmq_auth_mechanism_ssl'],
        management=True,
        tls=authority,
    )
    yield node
    node.kill()


def log_in(
    node: servers.RabbitMQ,
    authority: certificates.Authority,
    vhost: str,
    pair: certificates.Pair | None,
    **account: str,
) -> None:
    """Connect with a certificate, or an account, and leave."""
    files = {'ca_certs': str(authority.certificate), 'server_hostname': 'localhost'}
    if pair is not None:
        files |= {'certfile': str(pair.certificate), 'keyfile': str(pair.key)}
    connection = amqp.Connection(
        f'localhost:{node.tls_port}',
        virtual_host=vhost,
        ssl=files,
        login_method='PLAIN' if account else 'EXTERNAL',
        connect_timeout=60,
        **account,
    )
    connection.connect()
    connection.close()


@pytest.mark.parametrize('model', ['exchange', 'vhost'])
def test_a_guest_logs_in_by_its_certificate(
    bed: Bed,
    rabbit: servers.RabbitMQ,
    authority: certificates.Authority,
    nova: Callable[..., client.Client],
    model: str,
) -> None:
    ca = authority.certificate
    bed.write_config(
        guest_url=f'rabbit://localhost:{rabbit.tls_port}/{bed.vhost}'
        f'?ssl=1&ssl_ca_file={ca}'
    )
    bed.conductor()
    name = 'guestagent.vm-a'
    pair = authority.issue(name)

    child = bed.enrolled(
        *('vm-a', '--model', model, '--certificate', str(pair.certificate)),
        *('--certificate-key', str(pair.key)),
    )

    vhost = name if model == 'vhost' else bed.vhost
    guests = nova(f'{bed.bus_url.rpartition("/")[0]}/{vhost}')
    assert guests.call('vm-a', 'probe.echo', {'value': 1}, timeout=60) == 1
    processes.wait_for(lambda: bed.state_of('vm-a') == 'UP', 'the conductor knows it')
    kept = pathlib.Path(child.state)
    assert (kept / 'certificate_key.pem').stat().st_mode & 0o777 == 0o600
    url = json.loads((kept / 'enrolled').read_text())['url']
    assert 'rabbit_login_method=EXTERNAL' in url

    log_in(rabbit, authority, vhost, pair)
    for wrong, account in (
        (authority.issue('guestagent.vm-b'), {}),
        (authority.issue(name, expired=True), {}),
        (None, {}),
        (None, {'userid': name, 'password': ''}),
        (None, {'userid': name, 'password': 'guest'}),
    ):
        with pytest.raises((amqp.AMQPError, OSError)):
            log_in(rabbit, authority, vhost, wrong, **account)

    bed.done('instance', 'revoke', 'vm-a')
    with pytest.raises((amqp.AMQPError, OSError)):
        log_in(rabbit, authority, vhost, pair)


def test_what_does_not_fit_is_said(
    bed: Bed, authority: certificates.Authority, tmp_path: pathlib.Path
) -> None:
    pair = authority.issue('guestagent.vm-a')
    both = '--certificate', str(pair.certificate), '--certificate-key', str(pair.key)

    for arguments, said in (
        (both, 'no account of their own'),
        ((*both, '--model', 'exchange'), 'without ssl=1 and'),
        (both[:2], 'belong together'),
        ((*both[:3], str(tmp_path / 'none')), 'No such file'),
    ):
        ended = bed.guestctl('instance', 'enroll', 'vm-a', *arguments)
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
        assert ended.stderr.count('\n') == 1

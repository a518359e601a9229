# SPDX-License-Identifier: Apache-2.0
"""TLS to RabbitMQ, with certificates on both sides and no password at all."""

import shutil
import socket
import ssl
import threading

import pytest

from devstack import certificates, processes, servers
from tests.functional import faults

pytestmark = pytest.mark.functional

#: The broker lets in who has a certificate of its authority's, by the name in it.
MUTUAL = {
    'ssl_options.verify': 'verify_peer',
    'ssl_options.fail_if_no_peer_cert': 'true',
    'ssl_cert_login_from': 'common_name',
    'auth_mechanisms.1': 'EXTERNAL',
    'auth_mechanisms.2': 'PLAIN',
    'auth_mechanisms.3': 'AMQPLAIN',
}


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp('authority') / 'broker')


@pytest.fixture(scope='module')
def stranger(tmp_path_factory):
    """An authority that nobody trusts."""
    return certificates.Authority(tmp_path_factory.mktemp('authority') / 'stranger')


@pytest.fixture(scope='module')
def tls_rabbit(tmp_path_factory, authority):
    node = servers.RabbitMQ(
        tmp_path_factory.mktemp('tls'),
        MUTUAL,
        plugins=['rabbitmq_auth_mechanism_ssl'],
        tls=authority,
    )
    yield node
    node.kill()


@pytest.fixture
def bus_url(tls_rabbit, request):
    return tls_rabbit.add_vhost(f'{abs(hash(request.node.name))}')


@pytest.fixture
def guest_pair(authority):
    """A certificate of the broker's authority's."""
    return authority.issue('secure-guest')


@pytest.fixture
def secure(agent, tls_rabbit, bus_url, authority, guest_pair):
    """``secure(host=..., wait=False, **rabbit)``: an agent that uses TLS."""

    def start(host='localhost', port=None, wait=False, **rabbit):
        vhost = bus_url.rpartition('/')[2]
        url = f'rabbit://guest:hunter2@{host}:{port or tls_rabbit.tls_port}/{vhost}'
        options = {
            'ssl': True,
            'ssl_ca_file': authority.certificate,
            'ssl_cert_file': guest_pair.certificate,
            'ssl_key_file': guest_pair.key,
            'rabbit_login_method': 'EXTERNAL',
            **rabbit,
        }
        return agent(
            'secure-guest',
            faults.options(url, **{k: v for k, v in options.items() if v != ''}),
            extensions='probe',
            wait=wait,
        )

    return start


@pytest.fixture
def account(tls_rabbit, bus_url):
    """The account that the certificate logs in to; it has no password."""
    vhost = bus_url.rpartition('/')[2]
    tls_rabbit.ctl('add_user', 'secure-guest', 'x')
    tls_rabbit.ctl('clear_password', 'secure-guest')
    tls_rabbit.ctl('set_permissions', '-p', vhost, 'secure-guest', '.*', '.*', '.*')
    yield
    tls_rabbit.ctl('delete_user', 'secure-guest')


def test_a_certificate_is_the_login(secure, account, tls_rabbit, stock_client):
    guest = secure(wait=True)

    client = stock_client(guest.instance, namespace='probe')
    # More than a record of TLS, in both directions.
    assert client.call({}, 'echo', value='x' * 300_000) == 'x' * 300_000
    listed = tls_rabbit.ctl(
        'list_connections', 'user', 'ssl', 'auth_mechanism', 'client_properties'
    )
    assert [
        line.split()[:3]
        for line in listed.splitlines()
        if '"guestagent.secure-guest"' in line
    ] == [['secure-guest', 'true', 'EXTERNAL']]
    assert guest.stop() == 0
    assert 'Traceback' not in guest.output()


def test_a_conductor_needs_no_password_either(
    secure, account, conductor, authority, guest_pair, tls_rabbit, bus_url, guestctl
):
    vhost = bus_url.rpartition('/')[2]
    taking = conductor(
        {
            'DEFAULT': {
                'transport_url': f'rabbit://localhost:{tls_rabbit.tls_port}/{vhost}'
            },
            'oslo_messaging_rabbit': {
                'ssl': True,
                'ssl_ca_file': authority.certificate,
                'ssl_cert_file': guest_pair.certificate,
                'ssl_key_file': guest_pair.key,
                'rabbit_login_method': 'EXTERNAL',
            },
        }
    )
    taking.wait_line(f'taking reports from localhost:{tls_rabbit.tls_port}')

    secure(wait=True)

    processes.wait_for(
        lambda: 'secure-guest' in guestctl('instance', 'list').stdout, 'it is listed'
    )


@pytest.mark.parametrize('version', ['TLSv1_2', 'tlsv1_3'])
def test_the_url_may_say_it_all(
    agent, account, bus_url, tls_rabbit, authority, guest_pair, stock_client, version
):
    vhost = bus_url.rpartition('/')[2]
    url = (
        f'rabbit://localhost:{tls_rabbit.tls_port}/{vhost}?ssl=1'
        f'&ssl_ca_file={authority.certificate}&ssl_cert_file={guest_pair.certificate}'
        f'&ssl_key_file={guest_pair.key}&ssl_version={version}'
        f'&rabbit_login_method=EXTERNAL&rpc_conn_pool_size=3'
    )

    guest = agent('secure-guest', faults.options(url), extensions='probe')

    assert faults.answers(stock_client(guest.instance, namespace='probe'))
    listed = tls_rabbit.ctl('list_connections', 'ssl_protocol', 'client_properties')
    [protocol] = [
        line.split()[0]
        for line in listed.splitlines()
        if '"guestagent.secure-guest"' in line
    ]
    assert protocol == {'TLSv1_2': 'tlsv1.2', 'tlsv1_3': 'tlsv1.3'}[version]


def test_a_certificate_without_an_account_is_refused(secure):
    guest = secure()

    guest.wait_line('the broker refuses the login .*EXTERNAL.*; next attempt')
    assert 'hunter2' not in guest.output()


@pytest.mark.parametrize(
    ('host', 'options', 'says'),
    [
        ('127.0.0.1', {}, "broker's certificate is refused: .*127.0.0.1"),
        (
            'localhost',
            {'ssl_cert_file': '', 'ssl_key_file': ''},
            "refuses this agent's side of TLS: .*certificate required",
        ),
        (
            # Trusted is what the system trusts.
            'localhost',
            {'ssl_ca_file': ''},
            "broker's certificate is refused: self-signed certificate in certificate "
            'chain',
        ),
    ],
    ids=['host', 'no-certificate', 'no-authority'],
)
def test_a_handshake_that_fails_says_why_and_is_tried_again(
    secure, host, options, says
):
    guest = secure(host, **options)

    guest.wait_line(f'({says}.*; next attempt(.|\n)*){{2}}')
    assert guest.stop() == 0
    assert 'Traceback' not in guest.output()
    assert 'hunter2' not in guest.output()


def test_a_certificate_of_a_stranger_is_refused(secure, stranger):
    pair = stranger.issue('secure-guest')

    guest = secure(ssl_cert_file=pair.certificate, ssl_key_file=pair.key)

    guest.wait_line("refuses this agent's side of TLS: .*unknown ca.*; next attempt")


def test_the_files_are_read_anew_for_each_attempt(
    secure, account, authority, stranger, stock_client, tmp_path
):
    trusted = tmp_path / 'ca.pem'
    shutil.copy(stranger.certificate, trusted)
    guest = secure(ssl_ca_file=trusted)
    guest.wait_line("broker's certificate is refused: self-signed")
    trusted.unlink()
    guest.wait_line(f'ssl_ca_file = {trusted}: No such file.*; next attempt')

    shutil.copy(authority.certificate, trusted)

    client = stock_client(guest.instance, timeout=5, namespace='probe')
    faults.wait_answer(client)


def test_an_expired_certificate_is_refused(secure, authority):
    expired = authority.issue('localhost', names=['localhost'], expired=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired.certificate, expired.key)
    listener = socket.create_server(('127.0.0.1', 0))

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
                context.wrap_socket(peer, server_side=True).close()
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        guest = secure(port=listener.getsockname()[1])
        guest.wait_line(
            "(broker's certificate is refused: certificate has expired.*(.|\n)*){2}"
        )
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def test_the_two_kinds_of_port_are_told_apart(secure, tls_rabbit):
    guest = secure(port=tls_rabbit.port)
    guest.wait_line('what answers is no TLS.*; next attempt')
    guest.stop()

    plain = secure(ssl=False, rabbit_login_method='PLAIN')
    plain.wait_line('what answers speaks TLS: .* ssl = true.*; next attempt')


def test_a_login_that_the_broker_does_not_know_is_named(secure, rabbit):
    guest = secure(port=rabbit.port, ssl=False, ssl_ca_file='')

    guest.wait_line('does not know .* rabbit_login_method: .*EXTERNAL.*; next attempt')


@pytest.mark.parametrize(
    ('option', 'content', 'says'),
    [
        ('ssl_ca_file', None, 'No such file'),
        ('ssl_ca_file', 'no PEM', 'there is no certificate in it'),
        ('ssl_cert_file', None, 'No such file'),
        ('ssl_key_file', None, 'No such file'),
        ('ssl_cert_file', 'no PEM', 'no PEM file'),
    ],
)
def test_a_file_of_no_use_stops_the_start(secure, tmp_path, option, content, says):
    path = tmp_path / 'file.pem'
    if content:
        path.write_text(content)

    guest = secure(**{option: path})

    assert guest.wait_end() == 2
    assert option in guest.output()
    assert says in guest.output()


def test_a_key_of_another_certificate_stops_the_start(secure, authority):
    guest = secure(ssl_key_file=authority.issue('other').key)

    assert guest.wait_end() == 2
    assert 'the key in ssl_key_file belongs to another one' in guest.output()

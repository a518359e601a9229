# SPDX-License-Identifier: Apache-2.0
"""The options of RabbitMQ, from the file and from the URL."""

import pytest
from oslo_config import cfg
from oslo_messaging._drivers import amqp, impl_rabbit

from guestagent import errors
from guestagent.conf import rabbit

THEIRS = {option.dest: option for option in impl_rabbit.rabbit_opts + amqp.amqp_opts}
OURS = {option.dest: option for option in rabbit.OPTIONS}
#: No options of oslo.messaging.
OWN = {'connect_timeout', 'declare', 'redeclare_interval'}
#: A fleet must not come back at once.
OTHER_DEFAULT = {'kombu_reconnect_splay'}


@pytest.fixture
def read(tmp_path):
    """``read(query, **options of the file)``."""

    def read(query, **options):
        path = tmp_path / 'agent.conf'
        lines = [f'{name} = {value}' for name, value in options.items()]
        path.write_text('\n'.join([f'[{rabbit.SECTION}]', *lines]))
        conf = cfg.ConfigOpts()
        conf.register_opts(rabbit.OPTIONS, group=rabbit.SECTION)
        conf(['--config-file', str(path)])
        return rabbit.settings(conf, query)

    return read


def test_each_option_of_oslo_messaging_is_known():
    assert OURS.keys() - OWN == THEIRS.keys() - rabbit.NOT_USED
    assert not OURS.keys() & rabbit.NOT_USED


@pytest.mark.parametrize('name', sorted(OURS.keys() - OWN - OTHER_DEFAULT))
def test_defaults_are_oslo_messagings(name):
    assert OURS[name].default == THEIRS[name].default


def test_the_url_wins(read):
    settings = read({'ssl': '1', 'heartbeat_timeout_threshold': '9'}, ssl=False)

    assert settings.ssl is True
    assert settings.heartbeat_timeout_threshold == 9
    assert settings.rabbit_login_method == 'AMQPLAIN'


def test_what_only_control_planes_use_may_stand_in_the_url(read):
    assert read({'rpc_conn_pool_size': '5'}, amqp_durable_queues=True)


@pytest.mark.parametrize(
    ('query', 'says'),
    [
        ({'ssl_cafile': '/ca'}, "transport_url: 'ssl_cafile' is no option of"),
        ({'ssl': 'perhaps'}, 'transport_url: the option ssl=perhaps: '),
        ({'rabbit_login_method': 'GSSAPI'}, 'rabbit_login_method=GSSAPI: '),
        ({'heartbeat_timeout_threshold': '-1'}, 'heartbeat_timeout_threshold=-1: '),
    ],
)
def test_a_bad_query_is_named(read, query, says):
    with pytest.raises(errors.ConfigError, match=says):
        read(query)

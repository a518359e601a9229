# SPDX-License-Identifier: Apache-2.0
import oslo_messaging
import pytest
from oslo_config import cfg

from guestagent import errors
from guestagent.bus import topics, url


@pytest.mark.parametrize(
    'text',
    [
        'rabbit://guest:guest@127.0.0.1:5672/',
        'rabbit://us%40er:p%2F%3A%40ss@host:5671/v%2Fhost',
        'rabbit://a:b@one:1,c:d@two:2/x?ssl=1&rabbit_login_method=EXTERNAL',
        'rabbit://a:b@[::1]:5672/',
    ],
)
def test_a_url_is_read_as_oslo_messaging_reads_it(text):
    conf = cfg.ConfigOpts()
    conf([])
    theirs = oslo_messaging.TransportURL.parse(conf, text)

    ours = url.parse(text)

    assert [(b.hostname, b.port, b.username, b.password) for b in ours.brokers] == [
        (h.hostname, h.port, h.username, h.password) for h in theirs.hosts
    ]
    assert ours.virtual_host == (theirs.virtual_host or '/')
    assert ours.query == theirs.query


def test_what_is_left_out_has_its_default():
    ours = url.parse('rabbit://')

    assert ours.brokers == (url.Broker('localhost', 5672, 'guest', 'guest'),)
    assert ours.virtual_host == '/'


@pytest.mark.parametrize(
    ('text', 'what'),
    [
        ('kafka://host/', "scheme 'kafka'"),
        ('host:5672', 'scheme'),
        ('', "scheme ''"),
        ('rabbit://u:secret@host:port/', 'host number 1 has port'),
        ('rabbit://a:b@h:1,u:secret@h:99999/', 'host number 2'),
    ],
)
def test_a_wrong_url_is_named_without_its_password(text, what):
    with pytest.raises(errors.ConfigError, match=what) as caught:
        url.parse(text)
    assert 'secret' not in str(caught.value)


def test_a_broker_is_printed_without_its_password():
    broker = url.Broker('::1', 1, 'user', 'secret')
    assert str(broker) == '[::1]:1'
    assert 'secret' not in repr(broker)


@pytest.mark.parametrize(
    ('name', 'fine'),
    [
        ('reply_0123', True),
        ('reply_', False),
        ('guestagent.other', False),
        ('', False),
        (None, False),
        (['reply_x'], False),
        ('xreply_1', False),
        ('reply_host:program:1', True),
        ('reply_' + 'x' * 249, True),
        ('reply_' + 'x' * 250, False),
        ('reply_' + 'ü' * 125, False),
        ('reply_\ud800', False),
    ],
)
def test_replies_go_to_reply_queues_only(name, fine):
    assert topics.is_reply_queue(name) is fine


@pytest.mark.parametrize('name', ['', 'a b', 'x' * 201, 'a/b', 'ü', 'a\n'])
def test_what_is_no_instance_id_is_refused(name):
    with pytest.raises(errors.InvalidArgument, match='instance id'):
        topics.check_instance_id(name)

# SPDX-License-Identifier: Apache-2.0
"""A guest comes with a token and gets its keys; it is cut off; others get nothing."""

import json
import os
import pathlib
import stat
from collections.abc import Callable

import pytest

from devstack import processes
from guestagent import client, errors
from guestagent.bus import once
from guestagent.conf import agent as agent_options
from guestagent.conf import config
from guestagent.enroll import exchange, token
from tests.functional.enrolment.conftest import Bed

pytestmark = pytest.mark.functional

Nova = Callable[..., client.Client]


def test_a_guest_with_a_token_gets_its_keys(bed: Bed, nova: Nova) -> None:
    bed.conductor()
    child = bed.agent('vm-1')
    child.wait_line('waiting for a token in ')

    written = bed.folder / 'user-data'
    bed.done('instance', 'enroll', 'vm-1', '-o', str(written))
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    line = written.read_text().split('content: ')[1].strip()
    bed.give_token('vm-1', line)

    child.wait_line('instance vm-1 is enrolled')
    guests = nova()
    child.wait_line('connected to RabbitMQ')
    assert guests.call('vm-1', 'probe.echo', {'value': 7}, timeout=60) == 7
    assert not bed.token_file('vm-1').exists()
    kept = {path.name: path for path in child.state.iterdir()}
    for name in ('keys', 'enrolled'):
        assert stat.S_IMODE(kept[name].stat().st_mode) == 0o600
    assert 'enrolling' not in kept
    processes.wait_for(lambda: bed.state_of('vm-1') == 'UP', 'the conductor knows it')
    assert 'instance.enrolled' in bed.events('vm-1')
    secret = token.parse(line, 'here').secret
    for log in bed.folder.glob('*.log'):
        assert line not in log.read_text()
    database = (bed.folder / 'conductor.sqlite').read_bytes()
    assert secret not in database

    # It needs no token any more.
    child.stop()
    again = bed.agent('vm-1')
    again.wait_line('connected to RabbitMQ')
    assert guests.call('vm-1', 'probe.echo', {'value': 8}, timeout=60) == 8


def ask(bed: Bed, made: token.Token, seed: bytes) -> exchange.Bundle:
    """Exchange a token as an agent does."""
    conf = config.Config()
    agent_options.register(conf)
    conf.load([], prog='test', name='none', description='')
    connection = once.connect(conf, made.url, 'test')
    guest = exchange.Guest(made.instance, made.secret, seed)
    try:
        return guest.open(
            once.ask(
                connection,
                exchange.TOPIC,
                {
                    'namespace': exchange.NAMESPACE,
                    'method': exchange.METHOD,
                    'version': exchange.VERSION,
                    'args': {'instance': made.instance, 'value': guest.request()},
                },
                exchange.REPLY_QUEUE,
                60,
            )
        )
    finally:
        connection.collect()


def test_a_token_is_good_for_one_guest_and_once(bed: Bed) -> None:
    bed.conductor()
    made = token.parse(bed.token('vm-1'), 'here')
    other = token.parse(bed.token('vm-2'), 'here')
    first = os.urandom(32)

    with pytest.raises(errors.Refused):
        ask(bed, made._replace(secret=os.urandom(32)), first)
    with pytest.raises(errors.Refused):
        ask(bed, other._replace(instance='vm-1'), first)
    with pytest.raises(errors.Refused):
        ask(bed, made._replace(instance='vm-9'), first)
    bundle = ask(bed, made, first)
    assert [line.split()[:2] for line in bundle.keys] == [
        ['commands', 'nova'],
        ['reports', 'conductor'],
    ]
    # An answer that was lost is asked for again; who comes second is refused.
    assert ask(bed, made, first) == bundle
    with pytest.raises(errors.Refused):
        ask(bed, made, os.urandom(32))
    assert 'instance.enrolment_refused' in bed.events('vm-1')
    assert 'instance.enrolment_refused' not in bed.events('vm-9')

    # A new token makes the former one worthless.
    renewed = token.parse(bed.token('vm-1'), 'here')
    with pytest.raises(errors.Refused):
        ask(bed, made, first)
    assert ask(bed, renewed, first) == bundle


def test_a_guest_that_was_cut_off_stays_so(bed: Bed, nova: Nova) -> None:
    daemon = bed.conductor()
    bed.enrolled('vm-1')
    other = bed.enrolled('vm-2')
    processes.wait_for(lambda: bed.state_of('vm-1') == 'UP', 'the conductor knows it')

    said = bed.done('instance', 'revoke', 'vm-1')

    assert said.startswith('vm-1 is cut off')
    daemon.wait_line("in the name of 'vm-1': it was cut off")
    assert 'instance.revoked' in bed.events('vm-1')
    # Forgetting it brings it back no more than starting the conductor anew.
    bed.done('instance', 'delete', 'vm-1', '--yes', '--force')
    daemon.stop()
    second = bed.conductor()
    second.wait_line("in the name of 'vm-1': it was cut off")
    assert bed.state_of('vm-1') is None
    assert nova().call('vm-2', 'probe.echo', {'value': 1}, timeout=60) == 1
    assert other.running

    refused = bed.guestctl('instance', 'enroll', 'vm-1')
    assert refused.returncode == 5
    assert 'was cut off' in refused.stderr
    assert refused.stderr.count('\n') == 1
    bed.token('vm-1', '--again')
    processes.wait_for(lambda: bed.state_of('vm-1') == 'UP', 'it is back')


def test_nobody_but_an_operator_enrols_or_cuts_off(bed: Bed) -> None:
    bed.conductor()
    stranger = bed.folder / 'stranger.keys'
    from guestagent.seal import keys
    from tests.functional.enrolment import conftest

    theirs = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))
    conftest.write_keys(stranger, theirs)

    done = bed.guestctl('instance', 'revoke', 'vm-1', bed.nova, str(stranger))
    assert done.returncode == 5
    assert 'not sealed with one of' in done.stderr
    done = bed.guestctl('instance', 'enroll', 'vm-1', bed.nova)
    assert (done.returncode, 'no master key for reports' in done.stderr) == (2, True)
    bed.write_config(token_url=bed.bus_url)
    done = bed.guestctl('instance', 'enroll', 'vm-1')
    assert (done.returncode, 'name one of its own' in done.stderr) == (2, True)
    bed.write_config(management_url='http://guest:wrong@127.0.0.1:1')
    done = bed.guestctl('instance', 'enroll', 'vm-1')
    assert 'does not answer, see [enroll] management_url' in done.stderr


def test_a_wrong_token_is_said_in_one_line(bed: Bed) -> None:
    bed.token_file('vm-1').write_text('gat1-' + 'A' * 40)
    child = bed.agent('vm-1')

    assert child.wait_end() == 2
    assert 'it is no token, or a damaged one' in child.output()
    assert 'AAAA' not in child.output()
    assert 'Traceback' not in child.output()


def test_what_is_kept_is_checked(bed: Bed) -> None:
    child = bed.agent('vm-1')
    child.wait_line('waiting for a token')
    child.stop()
    pathlib.Path(child.state, 'enrolled').write_text(json.dumps({'instance': 'vm-1'}))

    again = bed.agent('vm-1')

    assert again.wait_end() == 2
    assert 'delete it and give the guest another token' in again.output()

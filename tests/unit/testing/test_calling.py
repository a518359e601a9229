# SPDX-License-Identifier: Apache-2.0
"""An extension called with no bus."""

import pytest
from oslo_config import cfg

from guestagent import errors, extension, testing


class Sensor(extension.Extension):
    options = (cfg.FloatOpt('limit', default=90, min=0),)
    log: list[str] = []

    def start(self) -> None:
        self.log.append('start')

    def stop(self) -> None:
        self.log.append('stop')

    @extension.command(mutates=False, timeout=7)
    def read(self, context: extension.Context, celsius: float = 20) -> dict[str, bool]:
        self.report_facts({'celsius': celsius, 'gone': None})
        if celsius > self.conf.limit:
            self.report_event('hot', {'celsius': celsius})
        return {'hot': celsius > self.conf.limit}

    @extension.command(mutates=False, timeout=7)
    def left(self, context: extension.Context) -> float | None:
        return context.remaining()

    @extension.command(mutates=False)
    def bad(self, context: extension.Context) -> object:
        return {1, 2}

    @extension.command(mutates=False)
    def pair(self, context: extension.Context, value: list[int]) -> object:
        return tuple(value)

    @extension.command(mutates=False)
    def ask(self, context: extension.Context) -> object:
        return self.call('exec', 'run', argv=['id'])


def test_defaults_of_options_and_arguments_hold():
    assert testing.call(Sensor, 'read') == {'hot': False}


def test_options_are_given_and_reports_recorded():
    host = testing.Host()

    assert testing.call(
        Sensor, 'read', options={'limit': '30'}, host=host, celsius=31
    ) == {'hot': True}

    assert host.facts == {'sensor.celsius': 31}
    assert host.events == [('sensor.hot', {'celsius': 31})]


def test_a_class_is_started_and_stopped_around_the_call():
    Sensor.log.clear()
    testing.call(Sensor, 'read')
    assert Sensor.log == ['start', 'stop']


def test_one_that_was_started_serves_several_calls():
    Sensor.log.clear()
    with testing.started(Sensor, name='probe') as sensor:
        assert sensor.name == 'probe'
        assert testing.call(sensor, 'read') == {'hot': False}
        assert testing.call(sensor, 'read', celsius=100) == {'hot': True}
        assert Sensor.log == ['start']


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'celsius': 'x'}, "argument 'celsius' must be float, not str"),
        ({'fahrenheit': 1}, "unexpected keyword argument 'fahrenheit'"),
    ],
)
def test_arguments_are_checked_as_the_agent_does(arguments, said):
    with pytest.raises(TypeError, match=said):
        testing.call(Sensor, 'read', **arguments)


def test_what_travels_is_json():
    assert testing.call(Sensor, 'pair', value=(1, 2)) == [1, 2]
    with pytest.raises(errors.BadResult):
        testing.call(Sensor, 'bad')


def test_the_time_limit_is_the_commands():
    assert 6 < testing.call(Sensor, 'left') <= 7
    assert testing.call(Sensor, 'left', context=extension.Context()) is None


def test_unknown_names_are_refused():
    with pytest.raises(errors.NoSuchMethod):
        testing.call(Sensor, 'health')
    with pytest.raises(cfg.NoSuchOptError):
        testing.call(Sensor, 'read', options={'limits': 1})
    with pytest.raises(ValueError, match='nought'):
        testing.call(Sensor, 'read', options={'limit': 'nought'})


def test_other_extensions_are_answered_for():
    host = testing.Host({'exec.run': lambda argv: {'exit_code': 0, 'argv': argv}})
    assert testing.call(Sensor, 'ask', host=host) == {'exit_code': 0, 'argv': ['id']}
    with pytest.raises(errors.ExtensionUnavailable):
        testing.call(Sensor, 'ask')


def test_a_fact_of_none_is_removed_and_sets_are_refused(guestagent_host):
    guestagent_host.report_facts('x', {'a': 1, 'b': (1,)})
    guestagent_host.report_facts('x', {'a': None})
    assert guestagent_host.facts == {'x.b': [1]}
    with pytest.raises(TypeError):
        guestagent_host.report_event('x', 'e', {'s': {1}})

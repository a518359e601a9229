# SPDX-License-Identifier: Apache-2.0
"""Parameters and overrides, judged by the server."""

from __future__ import annotations

import pytest
from guestagent_datastore import models
from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import errors
from tests.functional.datastore.postgresql import cluster


def _value(postgresql: cluster.Cluster, name: str) -> str | None:
    (parameter,) = postgresql.engine.parameters([name])
    return parameter.value


def test_parameters_as_they_are(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    (parameter,) = engine.parameters(['WORK_MEM'])
    assert parameter == models.Parameter(
        'work_mem', '4MB', None, 'integer', 64.0, 2147483647.0, (), True, False
    )
    (parameter,) = engine.parameters(['wal_level'])
    assert parameter.kind == 'enum'
    assert parameter.choices == ('minimal', 'replica', 'logical')
    assert not parameter.dynamic
    kinds = {each.name: each.kind for each in engine.parameters(None)}
    assert kinds['TimeZone'] == 'string'
    assert kinds['fsync'] == 'boolean'
    assert kinds['seq_page_cost'] == 'float'
    # What our own sessions set for themselves is not what counts for others.
    assert _value(postgresql, 'lock_timeout') == '0'
    assert _value(postgresql, 'search_path') == '"$user", public'
    assert _value(postgresql, 'log_statement') == 'none'
    with pytest.raises(errors.InvalidArgument, match='no parameter nix, work'):
        engine.parameters(['work', 'nix', 'fsync'])


def test_overrides_count_at_once_or_after_a_start(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    overrides: dict[str, models.Value] = {
        'work_mem': '7MB',
        'max_connections': 55,
        'Seq_Page_Cost': 1.5,
        'enable_seqscan': False,
        'search_path': "public, 'it''s', \\back",
        'myapp.anything': 'x\ny',
    }
    engine.set_overrides(overrides)
    assert engine.overrides() == {name.lower(): overrides[name] for name in overrides}
    assert _value(postgresql, 'work_mem') == '4MB'

    applied = engine.apply_overrides(list(overrides))

    assert applied.restart_required == ('max_connections',)
    assert set(applied.applied) == {x.lower() for x in overrides} - {'max_connections'}
    assert _value(postgresql, 'work_mem') == '7MB'
    assert _value(postgresql, 'enable_seqscan') == 'off'
    assert _value(postgresql, 'seq_page_cost') == '1.5'
    assert _value(postgresql, 'search_path') == "public, 'it''s', \\back"
    with engine.client.plain() as session:
        assert session.value('SHOW myapp.anything') == 'x\ny'
    (parameter,) = engine.parameters(['max_connections'])
    assert (parameter.value, parameter.override) == ('100', 55)
    assert parameter.restart_required

    postgresql.restart()
    (parameter,) = engine.parameters(['max_connections'])
    assert (parameter.value, parameter.restart_required) == ('55', False)

    assert engine.reset_overrides(['work_mem', 'fsync']) == ('work_mem',)
    assert engine.apply_overrides(['work_mem']).applied == ('work_mem',)
    assert _value(postgresql, 'work_mem') == '4MB'
    assert 'max_connections' in engine.reset_overrides(None)
    applied = engine.apply_overrides(['max_connections', 'enable_seqscan'])
    assert applied == models.Applied(('enable_seqscan',), ('max_connections',))
    assert engine.overrides() == {}
    postgresql.restart()
    assert _value(postgresql, 'max_connections') == '100'


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('nix', 1, 'unrecognized configuration parameter "nix"'),
        ('work_mem', '1kB', '1 kB is outside the valid range'),
        ('work_mem', 'lots', 'invalid value for parameter "work_mem"'),
        ('max_connections', 10**12, 'invalid value for parameter "max_connections"'),
        ('wal_level', 'most', 'Available values: minimal, replica, logical'),
        ('fsync', 'maybe', 'requires a Boolean value'),
        ('block_size', 4096, 'cannot be changed'),
        ('timezone', 'Mars/Olympus', 'invalid value for parameter "TimeZone"'),
        ('data_directory', '/tmp', 'the agent sets it itself'),
        ('LOG_directory', '/tmp', 'the agent sets it itself'),
        ('ssl_key_file', '/etc/shadow', 'the agent sets it itself'),
        ('wal_level', 'minimal', 'neither backups nor replicas'),
        ("a' b", 1, 'no parameter can have this name'),
        ('work_mem', '4\0MB', 'NUL'),
    ],
)
def test_overrides_that_the_server_refuses(
    postgresql: cluster.Cluster, name: str, value: models.Value, words: str
) -> None:
    engine = postgresql.engine
    for method in (engine.check_overrides, engine.set_overrides):
        with pytest.raises(errors.InvalidArgument) as caught:
            method({'work_mem': '5MB', name: value})
        assert words in str(caught.value)
        assert str(postgresql.folder) not in str(caught.value)
    assert engine.overrides() == {}


def test_each_bad_override_is_named(postgresql: cluster.Cluster) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        postgresql.engine.check_overrides(
            {'work_mem': '1kB', 'nix': 1, 'seq_page_cost': 'x'}
        )
    for name in ('work_mem', 'nix', 'seq_page_cost'):
        assert f'"{name}"' in str(caught.value)


@settings(max_examples=8)
@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=60))
def test_any_text_is_kept_as_it_is(postgresql: cluster.Cluster, text: str) -> None:
    engine = postgresql.engine
    engine.set_overrides({'myapp.text': text})
    engine.apply_overrides()
    with engine.client.plain() as session:
        assert session.value('SHOW myapp.text') == text
    engine.reset_overrides(None)


def test_overrides_are_checked_without_a_server(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    postgresql.stop()
    with pytest.raises(errors.InvalidArgument, match='outside the valid range'):
        engine.set_overrides({'work_mem': 1})
    engine.set_overrides({'work_mem': '6MB'})
    assert engine.parameters(None) == [
        models.Parameter('work_mem', None, '6MB', 'string')
    ]
    postgresql.start()
    assert _value(postgresql, 'work_mem') == '6MB'
    # Another agent, and a guest made anew from the volume, know them.
    for path in (postgresql.folder / 'config').iterdir():
        path.unlink()
    other = postgresql.make_engine()
    other.configure(memory=64)
    postgresql.restart()
    assert _value(postgresql, 'work_mem') == '6MB'
    engine.reset_overrides(None)
    engine.apply_overrides()

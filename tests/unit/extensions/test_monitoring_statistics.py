# SPDX-License-Identifier: Apache-2.0
"""An administrator's own statistics: definitions, commands and files, their limits."""

import os
import time

import pytest
from guestagent_monitoring import custom, definitions
from guestagent_monitoring import extension as monitoring_extension

from guestagent import extension


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'statistics.d'
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def write(folder):
    """``write(text, name='a.conf')``: a file of definitions, as it should be."""

    def written(text, name='a.conf', mode=0o644):
        file = folder / name
        file.write_text(text)
        file.chmod(mode)
        return file

    return written


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    real = time.monotonic
    start = real()
    # Others wait by it, so that it must go on.
    monkeypatch.setattr(time, 'monotonic', lambda: now[0] + real() - start)

    def forward(seconds):
        now[0] += seconds

    return forward


def values(told):
    return {key: each and each['value'] for key, each in told.items()}


def test_commands_and_files_are_looked_at(folder, write, tmp_path):
    (tmp_path / 'file').write_text('used 17 of 20\n')
    write(
        '[mail.queue]\n'
        'command = sh -c "echo 12"\ntype = integer\nunit = messages\n'
        f'[slots]\nfile = {tmp_path}/file\npattern = used (\\d+)\n'
        '[name]\ncommand = printf %s hello\ntype = text\n'
        '[healthy]\ncommand = echo yes\ntype = boolean\n'
        '[many]\ncommand = echo {"a": [1, 2]}\ntype = json\n'.replace(
            '{"a": [1, 2]}', '\'{"a": [1, 2]}\''
        )
    )
    statistics = custom.Statistics(str(folder))

    told = statistics.look()

    assert statistics.problems == {}
    assert told['mail.queue'] == {'value': 12, 'type': 'integer', 'unit': 'messages'}
    assert told['slots'] == {'value': 17.0, 'type': 'number', 'unit': None}
    assert values(told) == {
        'mail.queue': 12,
        'slots': 17.0,
        'name': 'hello',
        'healthy': True,
        'many': {'a': [1, 2]},
    }
    assert statistics.values() == told


def test_each_has_its_period_and_only_what_moves_is_told(
    folder, write, tmp_path, clock
):
    file = tmp_path / 'file'
    file.write_text('10')
    write(
        f'[fast]\nfile = {file}\nperiod = 10\n'
        f'[slow]\nfile = {file}\nperiod = 100\n'
        f'[steps]\nfile = {file}\nperiod = 10\nstep = 5\n'
    )
    statistics = custom.Statistics(str(folder))
    assert values(statistics.look()) == {'fast': 10, 'slow': 10, 'steps': 10}

    file.write_text('12')
    assert statistics.look() == {}
    clock(11)
    assert values(statistics.look()) == {'fast': 12}
    file.write_text('15')
    clock(11)
    assert values(statistics.look()) == {'fast': 15, 'steps': 15}
    clock(100)
    assert values(statistics.look()) == {'slow': 15}


def test_definitions_come_change_and_go(folder, write):
    statistics = custom.Statistics(str(folder))
    assert statistics.look() == {}
    write('[one]\ncommand = echo 1\n[two]\ncommand = echo 2\n')
    assert values(statistics.look()) == {'one': 1, 'two': 2}

    write('[one]\ncommand = echo 11\n')
    write('[three]\ncommand = echo 3\n', 'b.conf')
    write('[no]\ncommand = echo 4\n', 'README')

    assert values(statistics.look()) == {'one': 11, 'two': None, 'three': 3}
    assert set(statistics.values()) == {'one', 'three'}


def test_what_cannot_be_told_keeps_its_value_and_is_named(
    folder, write, tmp_path, clock
):
    file = tmp_path / 'file'
    file.write_text('1')
    write(f'[it]\nfile = {file}\n[fails]\ncommand = sh -c "echo no >&2; exit 3"\n')
    statistics = custom.Statistics(str(folder))
    assert values(statistics.look()) == {'it': 1}
    assert statistics.problems == {'fails': 'sh has failed (3): no'}

    file.write_text('many')
    clock(100)
    assert statistics.look() == {}
    assert 'could not convert' in statistics.problems['it']
    assert values(statistics.values()) == {'it': 1}

    file.write_text('2')
    clock(100)
    assert values(statistics.look()) == {'it': 2}
    assert set(statistics.problems) == {'fails'}


@pytest.mark.parametrize(
    ('definition', 'words'),
    [
        ('command = sleep 600\ntimeout = 0.2', 'not ended within 0.2 seconds'),
        ('command = yes', 'says more than 65536 bytes'),
        ('command = /no/such/program', 'No such file'),
        ('file = /no/such/file', 'cannot be read'),
        ('file = {folder}/pipe', 'cannot be read'),
        ('command = echo nan', 'nan is no number'),
        ('command = echo maybe\ntype = boolean', 'neither true nor false'),
        ('command = echo {\ntype = json', 'Expecting'),
        ('command = echo 1\npattern = x', "nothing matches 'x'"),
        ('command = sh -c "yes | head -c 5000"\ntype = text', 'more than 4096'),
    ],
)
def test_limits(folder, write, definition, words):
    os.mkfifo(folder / 'pipe')
    write(f'[it]\n{definition.replace("{folder}", str(folder))}\n')
    statistics = custom.Statistics(str(folder))

    assert statistics.look() == {}
    assert words in statistics.problems['it']


@pytest.mark.parametrize(
    ('section', 'words'),
    [
        ('[A b]\ncommand = x', "the key 'A b' has other characters"),
        ('[collectd.it]\ncommand = x', "begin with 'collectd.' are those of its"),
        ('[it]\nunit = x', 'needs a command or a file'),
        ('[it]\ncommand = x\nfile = /x', 'and not both'),
        ('[it]\nfile = x', 'must begin with /'),
        ('[it]\ncommand = x\ncolour = red', "no field 'colour'"),
        ('[it]\ncommand = x\ntype = blob', "'blob' is none of integer, number"),
        ('[it]\ncommand = x\nperiod = 0', "period: '0' is no number up to 86400"),
        ('[it]\ncommand = x\ntimeout = 61', "timeout: '61' is no number up to 60"),
        ('[it]\ncommand = x\nstep = far', 'could not convert'),
        ('[it]\ncommand = x\npattern = (', 'pattern: missing )'),
        ('[it]\ncommand = "x', 'No closing quotation'),
        ('it = 1', 'no section headers'),
        ('[it]\ncommand = x\n[it]\ncommand = x', 'already exists'),
    ],
)
def test_mistakes_are_named_and_concern_no_other(folder, write, section, words):
    write(section + '\n')
    write('[good]\ncommand = echo 1\n', 'b.conf')

    found, problems = definitions.load(str(folder))

    assert set(found) == {'good'}
    assert words in ''.join(problems.values())


def test_one_key_is_one_statistic_and_there_are_not_too_many(folder, write):
    write(''.join(f'[s{n:03}]\nfile = /x\n' for n in range(definitions.COUNT_MAX + 1)))
    write('[s000]\nfile = /x\n', 'b.conf')

    found, problems = definitions.load(str(folder))

    assert len(found) == definitions.COUNT_MAX
    assert 'b.conf: it is defined twice' in problems.values()
    assert problems[f's{definitions.COUNT_MAX:03}'].endswith('more than 100')


def test_what_others_may_write_does_not_count(folder, write):
    file = write('[it]\ncommand = echo 1\n', mode=0o664)
    statistics = custom.Statistics(str(folder))
    assert statistics.look() == {}
    assert statistics.problems == {'a.conf': 'others than its owner may write it'}

    file.chmod(0o644)
    assert values(statistics.look()) == {'it': 1}

    folder.chmod(0o777)
    assert values(statistics.look()) == {'it': None}
    assert 'others than its owner' in statistics.problems[str(folder)]


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_what_is_somebody_elses_does_not_count(folder, write):
    os.chown(write('[it]\ncommand = echo 1\n'), 65534, 65534)

    assert definitions.load(str(folder)) == (
        {},
        {'a.conf': "it is not root's, but user 65534's"},
    )


def test_they_are_reported_beside_the_built_in_ones(make, host, folder, write):
    made = make(
        monitoring_extension.Monitoring, 'monitoring', statistics_dir=str(folder)
    )
    write('[it]\ncommand = echo 1\n[bad]\ncommand = false\n')

    made.collect_statistics()
    write('')
    health = made.health()
    seen = made.facts(extension.Context(), names=['statistics'])['facts']
    made.collect_statistics()

    first, second = host.facts
    assert first == {'statistics.it': {'value': 1.0, 'type': 'number', 'unit': None}}
    assert seen == {'statistics': {'it': first['statistics.it']}}
    assert second == {'statistics.it': None}
    assert health.startswith('statistics.bad: false has failed (1)')
    assert made.health() == 'ok'


def test_without_the_folder_nothing_is_imported(make, host, folder):
    made = make(
        monitoring_extension.Monitoring,
        'monitoring',
        statistics_dir=str(folder / 'none'),
    )

    made.collect_statistics()

    assert made._statistics is None
    assert host.facts == []
    assert made.facts(extension.Context(), names=['statistics'])['facts'] == {
        'statistics': {}
    }

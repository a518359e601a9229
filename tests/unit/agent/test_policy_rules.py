# SPDX-License-Identifier: Apache-2.0
import contextlib
import pathlib
import re
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from guestagent import errors
from guestagent.agent.policy import files, rules, text

POLICY = """
# A comment.
[expected]
commands = exec.run, monitoring.*
commands = agent.*, file.*

[rule restart]
callers = trove, plain:op-*, !op-9
commands = exec.run
arg.argv = /usr/bin/systemctl restart *
arg.user = null
arg.user = postgres
arg.timeout = **

[rule look]
callers = plain:*
commands = monitoring.*, agent.describe, !monitoring.refresh

[rule files]
callers = *
commands = file.read
arg.path = /etc/**
arg.path = !/etc/shadow
arg.* = **
"""

TROVE = rules.Caller('trove', True)
NOBODY = rules.Caller('', False)
RESTART = {'argv': ['/usr/bin/systemctl', 'restart', 'x']}


@pytest.fixture
def policy():
    return text.parse(POLICY, 'policy.conf')


def test_a_rule_lets_its_callers_use_its_commands(policy):
    decision = policy.decide(TROVE, 'exec.run', RESTART)

    assert decision.allowed
    assert decision.rule == 'restart'
    assert 'restart' in decision.reason


@pytest.mark.parametrize(
    ('caller', 'allowed'),
    [
        (TROVE, True),
        (rules.Caller('trove', False), False),
        (rules.Caller('op-1', False), True),
        (rules.Caller('op-1', True), True),
        (rules.Caller('op-9', False), False),
        (rules.Caller('op-9', True), False),
        (rules.Caller('plain:op-1', True), False),
        (NOBODY, False),
    ],
)
def test_who_counts_as_a_caller(policy, caller, allowed):
    assert policy.decide(caller, 'exec.run', RESTART).allowed == allowed


@pytest.mark.parametrize(
    ('args', 'objection'),
    [
        ({}, "argument 'argv' is missing"),
        ({**RESTART, 'user': 'root'}, "this value of argument 'user'"),
        ({**RESTART, 'env': {}}, "argument 'env' is not named"),
        ({'argv': ['/bin/sh']}, "this value of argument 'argv'"),
        ([], 'the arguments are no object'),
        (None, 'the arguments are no object'),
    ],
)
def test_a_rule_that_names_arguments_allows_no_others(policy, args, objection):
    decision = policy.decide(TROVE, 'exec.run', args)

    assert not decision.allowed
    assert decision.rule == 'restart'
    assert decision.reason.startswith(f"rule 'restart': {objection}")


def test_what_is_not_given_counts_with_its_default(policy):
    def default(name):
        return {'user': 'root'}.get(name)

    decision = policy.decide(TROVE, 'exec.run', RESTART, default)

    assert decision.reason == "rule 'restart': argument 'user' is missing"


def test_a_reason_never_holds_a_value(policy):
    secret = 'hunter2'
    for args in (
        {'argv': [secret]},
        {**RESTART, 'user': secret},
        {**RESTART, 'env': {secret: secret}},
        {'path': f'/etc/{secret}/'},
    ):
        for command in ('exec.run', 'file.read'):
            assert secret not in policy.decide(TROVE, command, args).reason


def test_commands_that_are_taken_away(policy):
    assert policy.decide(NOBODY, 'monitoring.facts', {}).allowed
    assert not policy.decide(NOBODY, 'monitoring.refresh', {}).allowed
    assert policy.decide(NOBODY, 'agent.describe', {'extension': 'x'}).allowed
    assert not policy.decide(NOBODY, 'agent.cancel', {}).allowed


def test_other_arguments_may_be_let_in(policy):
    assert policy.decide(TROVE, 'file.read', {'path': '/etc/a', 'limit': 5}).allowed
    for path in ('/etc/shadow', '/etc/../etc/shadow', '/root/x'):
        assert not policy.decide(TROVE, 'file.read', {'path': path}).allowed


def test_everybody_may_ping_and_nothing_else():
    policy = text.parse('', 'policy.conf')

    assert policy.decide(NOBODY, 'ping', {}).allowed
    assert policy.decide(NOBODY, 'agent.report', {}).allowed
    for command in ('exec.run', 'agent.describe', 'monitoring.facts'):
        assert not policy.decide(TROVE, command, {}).allowed


def test_what_is_not_expected_is_off_whatever_a_rule_says():
    policy = text.parse(
        '[expected]\ncommands = exec.run\n[rule all]\ncallers=plain:*\ncommands=*\n',
        'x',
    )

    decision = policy.decide(TROVE, 'later.wipe', {})

    assert policy.decide(TROVE, 'exec.run', {}).allowed
    assert policy.decide(TROVE, 'ping', {}).allowed
    assert (decision.allowed, decision.rule) == (False, 'expected')
    assert '[expected]' in decision.reason


def test_many_rules_make_no_long_refusal():
    rule = '[rule r{}]\ncallers = plain:*\ncommands = a.b\narg.x = 1\n'
    policy = text.parse(''.join(map(rule.format, range(50))), 'x')

    reason = policy.decide(NOBODY, 'a.b', {}).reason

    assert reason.endswith('and 47 more rules')
    assert len(reason) < 300


@pytest.mark.parametrize(
    ('line', 'content', 'what'),
    [
        (1, 'x = 1', 'x: it stands in no section'),
        (1, '[rule a', 'the ] is missing'),
        (1, '[rules]', '[rules]: a section is [rule NAME] or [expected]'),
        (1, '[rule]', '[rule]: a section is'),
        (2, '[rule a]\nhello', "'hello' is not KEY = VALUE"),
        (1, '[rule a]\ncommands = a.b', '[rule a] callers: it must be there'),
        (1, '[rule a]\ncallers = x', '[rule a] commands: it must be there'),
        (2, '[rule a]\ncallers = x,,y\ncommands = a.b', 'callers: a name is empty'),
        (2, '[rule a]\ncallers = !x\ncommands = a.b', 'callers: it only takes away'),
        (3, '[rule a]\ncallers = x\ncommands = reboot', "'reboot' is no command"),
        (
            4,
            '[rule a]\ncallers=x\ncommands=a.b\nuser = x',
            'user: there is no such key',
        ),
        (4, '[rule a]\ncallers=x\ncommands=a.b\narg.a-b = x', 'there is no such key'),
        (4, '[rule a]\ncallers=x\ncommands=a.b\narg.p = /a/**/b', 'arg.p: '),
        (4, '[rule a]\ncallers=x\ncommands=a.b\narg.p = !/a', 'it only takes away'),
        (4, '[rule a]\ncallers=x\ncommands=a.b\narg.p =', 'arg.p: it is empty'),
        (
            4,
            '[rule a]\ncallers=x\ncommands=a.b\n[rule a]',
            '[rule a]: it is there twice',
        ),
        (2, '[expected]\nrules = x', '[expected] rules: there is no such key'),
        (1, '[expected]', '[expected] commands: it must be there'),
        (3, '[expected]\ncommands = *\n[expected]', '[expected]: it is there twice'),
    ],
)
def test_a_mistake_is_told_with_its_line(line, content, what):
    with pytest.raises(errors.ConfigError) as caught:
        text.parse(content, '/etc/policy.conf')

    assert str(caught.value).startswith(f'/etc/policy.conf, line {line}: ')
    assert what in str(caught.value)


def test_who_may_write_the_file(tmp_path):
    path = tmp_path / 'policy.conf'
    path.write_text(POLICY)
    path.chmod(0o644)
    assert len(files.load(str(path))) == 3

    path.chmod(0o664)
    with pytest.raises(errors.ConfigError, match='others than its owner may write it'):
        files.load(str(path))
    assert len(files.load(str(path), trust=True)) == 3


@pytest.mark.parametrize(
    ('content', 'what'),
    [(b'\xff', 'not UTF-8'), (b'#' * (files.SIZE_MAX + 1), 'it has more than')],
)
def test_a_file_of_no_use(tmp_path, content, what):
    path = tmp_path / 'policy.conf'
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(errors.ConfigError, match=what):
        files.load(str(path))


def test_what_is_no_file(tmp_path):
    with pytest.raises(errors.ConfigError, match='No such file'):
        files.load(str(tmp_path / 'none'))
    with pytest.raises(errors.ConfigError, match='Is a directory'):
        files.load(str(tmp_path))


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text())
def test_no_text_is_too_much_for_the_parser(content):
    with contextlib.suppress(errors.ConfigError):
        assert len(text.parse(content, 'x')) == content.count('[rule')


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_only_what_the_rules_say_is_allowed(name, command, args):
    policy = text.parse(POLICY, 'x')
    caller = rules.Caller(name, False)

    decision = policy.decide(caller, command, args)

    if decision.allowed:
        assert decision.rule in ('always', 'look', 'restart')
        assert decision == policy.decide(caller, command, args)


def test_the_sample_is_a_policy():
    sample = pathlib.Path(__file__).parents[3] / 'etc/guestagent/policy.conf'
    content = sample.read_text()
    lines = re.sub(r'^#(?! |$)', '', content, flags=re.MULTILINE)

    assert len(text.parse(content, 'x')) == 0
    policy = text.parse(lines, 'x')

    assert len(policy) == 3
    tool = {'argv': ['/opt/tools/bin/a', 'b'], 'user': 'tools'}
    deploy = rules.Caller('deploy-1', True)
    defaults = {'timeout': 60}
    assert policy.decide(deploy, 'exec.run', tool, defaults.get).allowed
    assert not policy.decide(deploy, 'exec.run', {**tool, 'user': 'root'}).allowed


def test_a_decision_takes_microseconds(policy):
    for _ in range(100):
        policy.decide(NOBODY, 'monitoring.facts', {})
    best = 1.0
    for _ in range(20):
        # Of this thread: the machine may have other things to do.
        began = time.thread_time()
        for _ in range(500):
            policy.decide(NOBODY, 'monitoring.facts', {})
        best = min(best, (time.thread_time() - began) / 500)
    assert best < 20e-6

# SPDX-License-Identifier: Apache-2.0
"""What exec.run refuses, how it says so, and whom and where a command runs as."""

import errno
import os
import pwd
import subprocess

import pytest
from guestagent_exec import extension as exec_extension
from guestagent_exec import launch, program

from guestagent import errors, extension
from guestagent.agent import registry
from tests.unit.extensions.exec import bed


@pytest.fixture
def run(make):
    made = make(exec_extension.Exec, 'exec')
    return lambda **arguments: made.run(extension.Context(), **arguments)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'give either argv or shell'),
        ({'argv': ['id'], 'shell': 'id'}, 'give either argv or shell'),
        ({'argv': []}, 'argv: the first item must name a program'),
        ({'argv': ['']}, 'argv: the first item must name a program'),
        ({'argv': ['id', 'a\0b']}, 'argv: it must not contain NUL'),
        ({'argv': ['id', '\ud800']}, 'argv: it is not valid Unicode'),
        ({'shell': 'a\0b'}, 'shell: it must not contain NUL'),
        ({'argv': ['id'], 'cwd': 'tmp'}, "cwd: 'tmp' is not an absolute path"),
        ({'argv': ['id'], 'cwd': '/\0'}, 'cwd: it must not contain NUL'),
        ({'argv': ['id'], 'env': {'': 'x'}}, "env: '' cannot be a variable's name"),
        (
            {'argv': ['id'], 'env': {'a=b': 'x'}},
            "env: 'a=b' cannot be a variable's name",
        ),
        ({'argv': ['id'], 'env': {'a': 'x\0'}}, 'env: it must not contain NUL'),
        ({'argv': ['id'], 'user': 'no-such'}, "user: there is no user 'no-such'"),
        ({'argv': ['id'], 'user': 'a\0b'}, 'user: there is no user'),
        ({'argv': ['id'], 'user': '4000000001'}, 'user: there is no user'),
        ({'argv': ['id'], 'user': '9' * 30}, 'user: there is no user'),
        # Another way to write root, which a policy may keep out.
        ({'argv': ['id'], 'user': '00'}, 'user: there is no user'),
        ({'argv': ['id'], 'timeout': 0}, 'timeout: 0 is not above 0'),
        ({'argv': ['id'], 'timeout': -1.5}, 'timeout: -1.5 is not above 0'),
        ({'argv': ['id'], 'timeout': float('nan')}, 'timeout: nan is not'),
        ({'argv': ['id'], 'timeout': 86401}, 'at most 86400 seconds'),
        ({'argv': ['id'], 'output_limit': -1}, 'output_limit: -1 is not between 0 and'),
        ({'argv': ['id'], 'output_limit': 2**40}, '[exec] output_limit_max'),
        (
            {'argv': ['cat'], 'stdin': 'a', 'stdin_encoding': 'base64'},
            'stdin: it is not valid base64',
        ),
        (
            {'argv': ['cat'], 'stdin': 'é', 'stdin_encoding': 'base64'},
            'stdin: it is not valid base64',
        ),
        ({'argv': ['cat'], 'stdin': '\ud800'}, 'stdin: it is not valid utf-8'),
        ({'argv': ['no-such-program']}, "'no-such-program': there is no such program"),
        ({'argv': ['/etc/passwd']}, "'/etc/passwd': it is not executable"),
        ({'argv': ['/etc/passwd/x']}, 'a part of its path is not a folder'),
        ({'argv': ['/' + 'x' * 300]}, 'its path is too long'),
        ({'argv': ['id', 'x' * 200_000]}, 'arguments and environment are too large'),
        ({'argv': ['id'], 'cwd': '/no/such'}, "cwd: '/no/such': No such file"),
        ({'argv': ['id'], 'cwd': '/etc/passwd'}, "cwd: '/etc/passwd': Not a directory"),
    ],
)
def test_what_cannot_be_run_is_the_callers_mistake(run, arguments, message):
    with pytest.raises(errors.InvalidArgument) as caught:
        run(**arguments)

    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_script_without_an_interpreter_is_explained(run, tmp_path):
    script = tmp_path / 'script'
    script.write_text('echo no first line\n')
    script.chmod(0o755)

    with pytest.raises(errors.InvalidArgument, match=r'a script needs #!'):
        run(argv=[str(script)])


@pytest.mark.parametrize(
    'arguments',
    [
        {'argv': ['no-such-program'], 'env': {'TOKEN': 'hunter2'}},
        {'argv': ['id'], 'env': {'TOKEN': 'hunter2\0'}},
        {'argv': ['cat'], 'stdin': 'hunter2!', 'stdin_encoding': 'base64'},
        {'argv': ['no-such-program'], 'stdin': 'hunter2'},
    ],
)
def test_no_error_holds_a_secret(run, arguments):
    with pytest.raises(errors.InvalidArgument) as caught:
        run(**arguments)

    assert 'hunter2' not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_environment_is_clean_and_small(run, monkeypatch):
    monkeypatch.setenv('TRANSPORT_URL', 'rabbit://user:secret@host')
    me = pwd.getpwuid(os.geteuid())

    done = run(argv=['env'], env={'COLOUR': 'blue', 'LANG': 'C'})

    assert dict(line.split('=', 1) for line in done['stdout'].splitlines()) == {
        'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'LANG': 'C',
        'SHELL': '/bin/sh',
        'HOME': me.pw_dir,
        'USER': me.pw_name,
        'LOGNAME': me.pw_name,
        'COLOUR': 'blue',
    }


def test_an_agent_without_an_account_has_an_environment_all_the_same(monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 4_000_000_001)

    account = program.find_account(None)

    assert program.environment('/bin', account, None) == {
        'PATH': '/bin',
        'LANG': 'C.UTF-8',
        'SHELL': '/bin/sh',
        'HOME': '/',
    }
    assert account.switch == {}


def test_programs_are_looked_for_in_the_path_of_the_command(make, tmp_path):
    script = tmp_path / 'greet'
    script.write_text('#!/bin/sh\necho hello\n')
    script.chmod(0o755)
    made = make(exec_extension.Exec, 'exec', path=str(tmp_path))

    assert made.run(extension.Context(), argv=['greet'])['stdout'] == 'hello\n'
    with pytest.raises(errors.InvalidArgument):
        made.run(extension.Context(), argv=['greet'], env={'PATH': '/usr/bin'})


def test_folder_and_umask(run, tmp_path):
    assert run(shell='pwd; umask')['stdout'] == '/\n0022\n'
    assert run(argv=['pwd'], cwd=str(tmp_path))['stdout'] == f'{tmp_path}\n'


def test_a_command_has_no_descriptors_of_the_agent(run):
    with open('/etc/passwd', 'rb') as held:
        os.set_inheritable(held.fileno(), True)
        # The fourth is that of ls itself.
        assert run(argv=['ls', '/proc/self/fd'])['stdout'].split() == list('0123')


def test_shell_text_may_begin_with_a_dash(run):
    assert run(shell='-x')['exit_code'] == 127


def test_arguments_may_hold_bytes_that_are_no_text(run):
    assert run(argv=['printf', '%s', 'a\udcff'])['stdout'] == 'Yf8='


@bed.ROOT_ONLY
@pytest.mark.parametrize('by', ['name', 'number'])
def test_another_user_with_its_groups_and_home(run, by):
    nobody = pwd.getpwnam('nobody')
    user = 'nobody' if by == 'name' else str(nobody.pw_uid)

    done = run(shell='id -u; id -G; echo $USER $HOME', user=user)

    groups = os.getgrouplist('nobody', nobody.pw_gid)
    who, belongs, variables = done['stdout'].splitlines()
    assert int(who) == nobody.pw_uid
    assert sorted(map(int, belongs.split())) == sorted(groups)
    assert variables == f'nobody {nobody.pw_dir}'


def test_an_agent_that_is_not_root_cannot_change_user(monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: pwd.getpwnam('nobody').pw_uid)

    with pytest.raises(errors.GuestError, match='does not run as root'):
        program.find_account('root')
    assert program.find_account('nobody').switch == {}


@pytest.mark.parametrize(
    ('number', 'user', 'message'),
    [
        (errno.EPERM, {'user': 1}, 'CAP_SETUID'),
        (errno.EAGAIN, {}, "'id' cannot be started: Resource temporarily unavailable"),
        (errno.ENOMEM, {}, "'id' cannot be started: Cannot allocate memory"),
    ],
)
def test_what_the_guest_cannot_do_is_not_the_callers_fault(
    monkeypatch, number, user, message
):
    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number), '/')

    monkeypatch.setattr(subprocess, 'Popen', fail)
    with pytest.raises(errors.GuestError, match=message):
        launch.start(
            program.Plan(
                argv=['id'],
                script=None,
                folder='/tmp',
                environment={},
                account=program.Account(user, {}),
                stdin=None,
                more=False,
                size=None,
                capture='separated',
                limits={},
            )
        )


def test_the_agent_can_check_and_describe_the_command(make):
    loaded = registry.Loaded('exec', make(exec_extension.Exec, 'exec'))

    assert {name for name, one in loaded.commands.items() if one.info.mutates} == {
        'run',
        'signal',
        'spawn',
    }
    assert loaded.commands['write'].info.sensitive == {'data'}
    command = loaded.commands['run']
    assert command.info.timeout is None
    assert command.info.sensitive == {'stdin', 'env', 'script'}
    command.signature.check({'argv': ['id'], 'timeout': 5, 'env': {'A': 'b'}})
    with pytest.raises(TypeError, match='stdin_encoding'):
        command.signature.check({'argv': ['id'], 'stdin_encoding': 'latin-1'})

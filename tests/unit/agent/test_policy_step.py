# SPDX-License-Identifier: Apache-2.0
import pytest

from guestagent import errors, extension
from guestagent.agent import registry
from guestagent.agent import request as requests
from guestagent.agent.policy import judge, text
from guestagent.agent.steps import policy

FILES = """
[rule files]
callers = plain:*
commands = files.*
arg.path = {folder}/open/**
"""


class Files(extension.Extension):
    @extension.command(mutates=False)
    def read(self, context: extension.Context, path: str = '/nothing') -> str:
        return path


@pytest.fixture
def step(tmp_path):
    (tmp_path / 'open').mkdir()
    rules = text.parse(FILES.format(folder=tmp_path.resolve()), 'x')
    return policy.Policy(judge.Judge(rules))


def request(args, method='read', caller='', proven=False):
    made = requests.Request(
        'files',
        method,
        '1.0',
        args,
        caller=caller,
        command_id='1',
        id_given=False,
        values={},
        door=requests.Door(),
        proven=proven,
    )
    made.command = registry.Loaded(
        'files', Files('files', None, extension.Host())
    ).commands['read']
    return made


def test_without_a_policy_all_passes():
    step = policy.Policy()

    step.admit(request(None))
    assert step.accept(request({'path': '/etc/shadow'})) is None


def test_a_refusal_names_caller_command_and_rule_and_no_value(step):
    with pytest.raises(errors.Forbidden) as caught:
        step.admit(request({'path': '/root/hunter2'}, caller='me'))

    assert str(caught.value) == (
        "caller 'me' (a name that is not proven) may not use files.read: rule 'files': "
        "this value of argument 'path' is not allowed"
    )
    assert caught.value.code == 'forbidden'
    assert isinstance(caught.value, errors.Refused)


def test_an_argument_that_is_not_given_counts_with_its_default(step):
    with pytest.raises(errors.Forbidden, match="argument 'path' is missing"):
        step.admit(request({}))


def test_a_link_leads_nowhere_that_is_not_allowed(step, tmp_path):
    folder = tmp_path.resolve()
    (folder / 'open/inside').write_text('')
    (folder / 'secret').write_text('')
    (folder / 'open/good').symlink_to('inside')
    (folder / 'open/bad').symlink_to('../secret')
    (folder / 'open/out').symlink_to(folder)

    for name in ('inside', 'good', 'new', 'good/not/there'):
        asked = request({'path': f'{folder}/open/{name}'})
        step.admit(asked)
        assert step.accept(asked) is None
    for name in ('bad', 'out/secret', 'out/not/there'):
        asked = request({'path': f'{folder}/open/{name}'})
        step.admit(asked)
        with pytest.raises(errors.Forbidden, match='links lead to counts'):
            step.accept(asked)


def test_a_file_with_a_mistake_changes_nothing(step, tmp_path):
    before = step.judge
    path = tmp_path / 'policy.conf'
    path.write_text('[rule x]\n')
    path.chmod(0o600)

    with pytest.raises(errors.ConfigError, match='line 1'):
        step.load(str(path), [])

    assert step.judge is before


def test_what_is_off_is_said(step, tmp_path, caplog):
    caplog.set_level('INFO')
    path = tmp_path / 'policy.conf'
    path.write_text('[expected]\ncommands = exec.run\n')
    path.chmod(0o600)

    step.load(str(path), ['exec.run', 'later.wipe'])

    assert 'so refused: later.wipe' in caplog.text


def test_no_policy_is_said(step, caplog):
    step.load('', [])

    assert step.judge is None
    assert 'no [policy] file is set' in caplog.text

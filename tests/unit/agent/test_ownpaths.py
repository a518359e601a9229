# SPDX-License-Identifier: Apache-2.0
from guestagent.agent import ownpaths
from guestagent.conf import agent, config


def test_state_keys_policy_and_configuration_are_the_agents_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'agent.conf'
    file.write_text(
        f'[DEFAULT]\nstate_dir = {tmp_path}/state\n'
        f'[seal]\nkey_file = keys\n[policy]\nfile = /etc/policy.conf\n'
        f'[freeze]\nfolder = /run/held\n'
    )
    conf = config.Config()
    agent.register(conf)
    conf.load(
        ['--config-file', str(file)], prog='guestagent', name='agent', description=''
    )

    expected = ['/etc/policy.conf', '/run/held', str(file)]
    expected += [f'{tmp_path}/keys', f'{tmp_path}/state']
    assert ownpaths.find(conf) == sorted(expected)

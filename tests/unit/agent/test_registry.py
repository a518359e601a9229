# SPDX-License-Identifier: Apache-2.0
"""Which extensions an agent knows of."""

from guestagent import extension
from guestagent.agent import finding, registry
from guestagent.conf import agent, config


def test_sections_of_the_usual_extensions_may_stand_in_any_agents_file(monkeypatch):
    monkeypatch.setattr(finding, 'entry_points', list)
    conf = config.Config()
    agent.register(conf)
    conf([], project='guestagent', default_config_files=[], default_config_dirs=[])
    known = registry.Registry(conf, extension.Host())
    known.load([], required=False)

    usual = {*agent.EXTENSIONS, *agent.PACKAGED}
    assert known.unread_sections() == usual >= {'exec', 'monitoring', 'sso'}

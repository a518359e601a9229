# SPDX-License-Identifier: Apache-2.0
"""The file of ovirt-guest-agent is understood, or what is not is said."""

from guestagent_ovirt import conf as options

from guestagent.conf import agent, check, config

TEXT = """
[general]
heart_beat_rate = 7
report_user_rate = often
ignored_fs = rootfs tmpfs
ignored_nics = docker0, veth0
ignore_zero_size_fs = false
applications_list = kernel

[virtio]
device_prefix = /dev/ports/

[loggers]
keys=root

[logger_root]
level=INFO
handlers=logfile

[handler_logfile]
class=logging.handlers.RotatingFileHandler
args=('/var/log/ovirt-guest-agent/ovirt-guest-agent.log', 'a', 100*1024, 5)
"""


def test_what_the_originals_file_says_counts(tmp_path):
    file = tmp_path / 'ovirt-guest-agent.conf'
    file.write_text(TEXT)
    conf = config.Config()
    agent.register(conf)
    conf.load(['--config-file', str(file)], prog='x', name='agent', description='y')
    conf.register_opts(options.OPTIONS, group='ovirt')

    assert conf.enabled_channels == ['ovirt']
    assert conf.ovirt.heart_beat_rate == 7
    assert conf.ovirt.report_user_rate == 10
    assert conf.ovirt.ignored_fs == ['rootfs', 'tmpfs']
    assert conf.ovirt.ignored_nics == ['docker0', 'veth0']
    assert conf.ovirt.ignore_zero_size_fs is False
    assert conf.ovirt.device_prefix == '/dev/ports/'
    found = check.names(conf)
    assert found.problems == []
    said = '\n'.join(found.warnings)
    assert "report_user_rate: 'often' makes no sense" in said
    assert 'applications_list does not count: all that is installed' in said
    assert '[handler_logfile] does not count' in said

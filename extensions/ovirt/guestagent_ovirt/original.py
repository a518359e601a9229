# SPDX-License-Identifier: Apache-2.0
"""What a configuration file of ovirt-guest-agent says, in the options of this project.

The file is ``/etc/ovirt-guest-agent.conf``; a warning names what is not honoured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guestagent.conf import foreign

_NUMBERS = frozenset(
    (
        'heart_beat_rate',
        'report_user_rate',
        'report_num_cpu_rate',
        'report_application_rate',
        'report_disk_usage',
    )
)
_LISTS = frozenset(('ignored_fs', 'ignored_nics'))
_SWITCHES = frozenset(('ignore_zero_size_fs',))
_REPLACED = {
    'applications_list': 'all that is installed is told, when it changes',
    'apply_timer_configuration': 'it is for Windows',
}
#: Sections of Python's logging.
_LOGGING = ('loggers', 'handlers', 'formatters', 'logger_', 'handler_', 'formatter_')


def read(settings: Sequence[foreign.Setting]) -> foreign.Reading:
    """Return what stands in the file; each option of ``[ovirt]`` has the same name."""
    defaults: dict[tuple[str | None, str], Any] = {
        (None, 'enabled_channels'): ['ovirt']
    }
    warnings = []
    for setting in settings:
        where = f'{setting.file}: [{setting.section}] {setting.name}'
        text = setting.values[-1].strip()
        if setting.section == 'virtio' and setting.name == 'device_prefix':
            defaults['ovirt', 'device_prefix'] = text
        elif setting.section == 'general' and setting.name in _KNOWN:
            try:
                defaults['ovirt', setting.name] = _value(setting.name, text)
            except ValueError:
                warnings.append(
                    f'{where}: {text!r} makes no sense, so it does not count'
                )
        elif setting.section.startswith(_LOGGING):
            warnings.append(
                f"{setting.file}: [{setting.section}] does not count: the agent's own "
                f'options say where its log goes'
            )
        else:
            reason = _REPLACED.get(setting.name, 'this agent has no use for it')
            warnings.append(f'{where} does not count: {reason}')
    return foreign.Reading({}, defaults, list(dict.fromkeys(warnings)))


_KNOWN = _NUMBERS | _LISTS | _SWITCHES


def _value(name: str, text: str) -> Any:
    if name in _NUMBERS:
        return float(text)
    if name in _LISTS:
        return text.replace(',', ' ').split()
    found = {'true': True, '1': True, 'false': False, '0': False}.get(text.lower())
    if found is None:
        raise ValueError(text)
    return found

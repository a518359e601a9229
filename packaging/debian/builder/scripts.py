# SPDX-License-Identifier: Apache-2.0
"""Maintainer scripts, put together from the pieces in ``packaging/debian/scripts``."""

from __future__ import annotations

import configparser
import pathlib

from builder import deb

_PIECES = pathlib.Path(__file__).resolve().parents[1] / 'scripts'
_HEAD = '#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\nset -e\n'


def add_bytecode(package: deb.Package, folder: str) -> None:
    """Let the package compile its modules, and again for another version of Python."""
    values = {'PACKAGE': package.name, 'FOLDER': folder}
    _add(package, 'postinst', 'bytecode', values)
    _add(package, 'prerm', 'bytecode', values)
    package.files[f'usr/share/python3/runtime.d/{package.name}.rtupdate'] = (
        _HEAD + _piece('bytecode.rtupdate', values)
    )


def add_service(
    package: deb.Package, unit: pathlib.Path, config: pathlib.Path, watched: list[str]
) -> None:
    """Let the package run a service: its unit, configuration, account and state.

    Account and state folder are those that the unit names.

    :param watched: the service starts again when files in these folders change.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(unit)
    service = parser['Service']
    target = f'etc/guestagent/{config.name}'
    values = {
        'UNIT': unit.name,
        'CONFIG': f'/{target}',
        'STATE': f'/var/lib/{service["StateDirectory"]}',
        'STATE_MODE': service['StateDirectoryMode'],
        'USER': service.get('User', 'root'),
        'DESCRIPTION': parser['Unit']['Description'],
    }
    package.files[target] = config.read_text()
    package.files[f'usr/lib/systemd/system/{unit.name}'] = unit.read_text()
    package.folders.append(f'{target}.d')
    if values['USER'] != 'root':
        _add(package, 'postinst', 'account', values)
    _add(package, 'postinst', 'state', values)
    for script in ('postinst', 'prerm', 'postrm'):
        _add(package, script, 'service', values)
    package.scripts['triggers'] = ''.join(
        f'interest-noawait {folder}\n' for folder in watched
    )


def _add(package: deb.Package, script: str, piece: str, values: dict[str, str]) -> None:
    text = package.scripts.get(script, _HEAD)
    package.scripts[script] = text + '\n' + _piece(f'{piece}.{script}', values)


def _piece(name: str, values: dict[str, str]) -> str:
    """Return a piece without its first line, the licence."""
    text = (_PIECES / name).read_text().split('\n', 1)[1]
    for key, value in values.items():
        text = text.replace(f'@{key}@', value)
    return text

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


def add_tmpfiles(package: deb.Package, folder: str, owner: str) -> None:
    """Let systemd make a folder in /run at each boot, and at the installation."""
    path = f'usr/lib/tmpfiles.d/{package.name}.conf'
    package.files[path] = f'd {folder} 0755 {owner} {owner} -\n'
    values = {'FILE': f'/{path}', 'FOLDER': folder}
    _add(package, 'postinst', 'tmpfiles', values)
    _add(package, 'postrm', 'tmpfiles', values)


def add_goodbye(package: deb.Package) -> None:
    """Let an oVirt host know that its package goes."""
    _add(package, 'prerm', 'ovirt', {})


def add_service(
    package: deb.Package,
    unit: pathlib.Path,
    watched: list[str],
    config: tuple[str, str] | None = None,
    account: str | None = None,
) -> None:
    """Let the package run a service: its unit, account, folders and configuration.

    Account and folders are those that the unit names.

    :param watched: the service starts again when files in these folders change.
    :param config: the name and the text of a file of options, for its user's eyes;
        with a folder for more of them.
    :param account: of a service that becomes another user by itself.
    """
    values = _values(unit, account)
    package.files[f'usr/lib/systemd/system/{unit.name}'] = unit.read_text()
    if values['USER'] != 'root':
        _add(package, 'postinst', 'account', values)
    if values['STATE']:
        _add(package, 'postinst', 'state', values)
    if config is not None:
        name, text = config
        target = f'etc/guestagent/{name}'
        values['CONFIG'] = f'/{target}'
        package.files[target] = text
        package.folders.append(f'{target}.d')
        _add(package, 'postinst', 'config', values)
        _add(package, 'postrm', 'config', values)
    _add(package, 'postrm', 'state', values)
    # The start is the last thing: it needs all of the above.
    for script in ('postinst', 'prerm', 'postrm'):
        _add(package, script, 'service', values)
    package.scripts['triggers'] = ''.join(
        f'interest-noawait {folder}\n' for folder in watched
    )


def _values(unit: pathlib.Path, account: str | None) -> dict[str, str]:
    """Return what the pieces need to know of a service."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(unit)
    service = parser['Service']
    name = service.get('StateDirectory')
    state = f'/var/lib/{name}' if name else ''
    return {
        'UNIT': unit.name,
        'HOME': state or '/nonexistent',
        'STATE': state,
        'STATE_MODE': service.get('StateDirectoryMode', ''),
        'FOLDERS': f'{state} /run/{service["RuntimeDirectory"]}'.strip(),
        'USER': account or service.get('User') or 'root',
        'DESCRIPTION': parser['Unit']['Description'],
    }


def _add(package: deb.Package, script: str, piece: str, values: dict[str, str]) -> None:
    text = package.scripts.get(script, _HEAD)
    package.scripts[script] = text + '\n' + _piece(f'{piece}.{script}', values)


def _piece(name: str, values: dict[str, str]) -> str:
    """Return a piece without its first line, the licence."""
    text = (_PIECES / name).read_text().split('\n', 1)[1]
    for key, value in values.items():
        text = text.replace(f'@{key}@', value)
    return text

# SPDX-License-Identifier: Apache-2.0
"""Trove's modules: applied, listed with their contents, removed.

A module is two files in the state folder: what it is, and its contents as they came.
What a module *does* is its type; ``ping`` does nothing but tell its message.  Others
are kept, and told as an error.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent_trove import base

#: What stands for any tenant, datastore or version.
ALL = 'all'

_ID = re.compile(r'[A-Za-z0-9_\-]{1,64}\Z')
_FIELDS = (
    'type', 'name', 'datastore', 'datastore_version', 'tenant', 'id', 'md5',
    'auto_apply', 'visible', 'is_admin',
)  # fmt: skip


class Modules(base.Base):
    """The commands ``module_...``."""

    @extension.command(mutates=True, timeout=180, sensitive=('modules', 'return'))
    def module_apply(
        self, context: extension.Context, modules: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Apply modules, ``[{'module': {...}}]``; return how each ended."""
        return self.apply_modules(modules)

    @extension.command(mutates=False, timeout=180, sensitive=('return',))
    def module_list(
        self, context: extension.Context, include_contents: bool = False
    ) -> list[dict[str, Any]]:
        """Return the modules that are applied, the newest first."""
        admin = bool(context.values.get('is_admin'))
        found = []
        for folder, result in self._results():
            if not admin and not result.get('visible'):
                continue
            if include_contents:
                hidden = result.get('is_admin') and not admin
                result['contents'] = (
                    base64.b64encode(
                        f'Must be admin to retrieve contents for module '
                        f'{result["name"]}'.encode()
                    ).decode()
                    if hidden
                    else (folder / 'contents').read_text(encoding='ascii')
                )
            found.append(result)
        return sorted(found, key=lambda one: str(one['updated']), reverse=True)

    @extension.command(mutates=True, timeout=180, sensitive=('module',))
    def module_remove(self, context: extension.Context, module: dict[str, Any]) -> None:
        """Remove a module, ``{'module': {id, name, ...}}``."""
        wanted = module.get('module', module)
        folder = self._folder(wanted)
        if not (folder / 'result.json').exists():
            raise errors.InvalidArgument(
                f'module {wanted.get("name")!r} has not been applied'
            )
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    def apply_modules(self, modules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Apply modules in the order that they name."""
        wanted = [item['module'] for item in modules]
        wanted.sort(
            key=lambda one: (not one.get('priority_apply'), one.get('apply_order') or 0)
        )
        return [self._apply(module) for module in wanted]

    def _apply(self, module: dict[str, Any]) -> dict[str, Any]:
        folder = self._folder(module)
        contents = _contents(module)
        own = self.conf.datastore_manager
        if module.get('datastore') not in (None, ALL, own):
            raise errors.InvalidArgument(f'module not valid for datastore {own}')
        done, message = _run(module, contents)
        now = datetime.datetime.now().strftime('%Y-%m-%d %H:%M:%S.%f')[:22]
        before = _read(folder) or {'created': now}
        result = {
            **{name: module.get(name) for name in _FIELDS},
            'datastore': module.get('datastore') or ALL,
            'datastore_version': module.get('datastore_version') or ALL,
            'tenant': module.get('tenant') or ALL,
            'status': 'OK' if done else 'ERROR',
            'message': message,
            'created': before['created'],
            'updated': now,
            'removed': None,
            'contents': None,
        }
        if result['is_admin'] is None:
            result['is_admin'] = (
                result['tenant'] == ALL
                or not module.get('visible', True)
                or bool(module.get('auto_apply', True))
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / 'contents').write_text(module['contents'], encoding='ascii')
        (folder / 'result.json').write_text(json.dumps(result), encoding='utf-8')
        return result

    def _folder(self, module: dict[str, Any]) -> pathlib.Path:
        if not module.get('name'):
            raise errors.InvalidArgument('a module has no name')
        identifier = module.get('id')
        if not isinstance(identifier, str) or not _ID.match(identifier):
            raise errors.InvalidArgument(f'module {module["name"]!r} has no usable id')
        return pathlib.Path(self.conf.state_folder) / 'modules' / identifier

    def _results(self) -> Iterator[tuple[pathlib.Path, dict[str, Any]]]:
        for folder in (pathlib.Path(self.conf.state_folder) / 'modules').glob('*'):
            result = _read(folder)
            if result is not None:
                yield folder, result


def _read(folder: pathlib.Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / 'result.json').read_text('utf-8'))
    except (OSError, ValueError):
        return None
    return found


def _contents(module: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(module['contents'], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise errors.InvalidArgument(
            f'module {module.get("name")!r}: its contents are missing, or no base64'
        ) from None


def _run(module: dict[str, Any], contents: bytes) -> tuple[bool, str]:
    """Do what a module of this type does; return whether it did, and its message."""
    kind = module.get('type')
    if kind != 'ping':
        return False, f'modules of the type {kind!r} do nothing here'
    for line in contents.decode('utf-8', 'replace').splitlines():
        key, equals, value = line.partition('=')
        if equals and key.strip().lower() == 'message':
            return True, value.strip()
    return False, 'Message not found in contents file'

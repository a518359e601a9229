# SPDX-License-Identifier: Apache-2.0
"""Folders carried to a guest or from it: files, links, permissions and times.

What a guest says is its word: names that would lead out of the folder are refused.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from guestagent import errors
from guestagent.ctl import carrying, flow

#: Hears of what is not carried, and why.
Skipped = Callable[[str], None]


class Trees:
    """Carries files and folders.

    :param skipped: hears of what is neither file, folder nor link.
    :ivar files: how many files were carried.
    """

    def __init__(self, carrier: carrying.Carrier, skipped: Skipped) -> None:
        self._carrier = carrier
        self._guest = carrier.guest
        self._skipped = skipped
        self.files = 0

    def pull(self, path: str, target: str) -> None:
        """Fetch a file or a folder of the guest.

        :raises guestagent.ctl.flow.LocalError: it cannot be written here.
        :raises guestagent.errors.GuestAgentError: it cannot be had from the guest.
        """
        try:
            self._pull(path, target)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            # Whatever it is that a guest says in the place of names and numbers.
            raise errors.GuestError(
                f'{path!r}: what the guest answers makes no sense: {error!r}'
            ) from error

    def _pull(self, path: str, target: str) -> None:
        found = self._guest.call('stat', path=path)
        # Into a folder that is there, as cp does it.
        if os.path.isdir(target):
            target = os.path.join(target, _own_name(path))
        if found['type'] == 'folder':
            self._pull_folder(path, found, target)
        else:
            self._carrier.pull(path, target)
            self.files += 1

    def push(self, source: str, path: str, **settings: Any) -> None:
        """Bring a file or a folder to the guest.

        :param settings: ``user`` and ``group`` of what is made.
        :raises guestagent.ctl.flow.LocalError: it cannot be read here.
        :raises guestagent.errors.GuestAgentError: the guest does not take it.
        """
        if self._is_folder(path):
            name = os.path.basename(os.path.abspath(source))
            path = f'{path.rstrip("/")}/{name}'
        if os.path.isdir(source):
            self._push_folder(source, path, settings)
        else:
            self._carrier.push(source, path, **settings)
            self.files += 1

    def _pull_folder(self, path: str, found: dict[str, Any], target: str) -> None:
        folders = []
        waiting = [(path.rstrip('/') or '/', found, target)]
        while waiting:
            path, found, target = waiting.pop()
            _make_folder(target)
            folders.append((target, found))
            small: list[Callable[[], int]] = []
            for entry in self._entries(path):
                here = os.path.join(target, entry['name'])
                there = f'{path.rstrip("/")}/{entry["name"]}'
                if entry['type'] == 'folder':
                    waiting.append((there, entry, here))
                elif entry['type'] == 'link':
                    _make_link(here, entry['target'])
                elif entry['type'] != 'file':
                    self._skipped(f'{there}: it is a {entry["type"]}')
                elif entry['size'] <= carrying.PART:
                    small.append(functools.partial(self._carrier.get, there, here))
                else:
                    self._carrier.pull(there, here)
                self.files += entry['type'] == 'file'
            self._carrier.at_once(small)
        # Last: what is made in a folder changes its time, and may not be allowed.
        for target, found in reversed(folders):
            try:
                os.chmod(target, found['permissions'] & 0o777)
                os.utime(target, ns=(found['modified'], found['modified']))
            except OSError as error:
                raise flow.local(target, error) from None

    def _entries(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield what is in a folder of the guest.

        :raises guestagent.errors.GuestError: the guest names what can be in no folder.
        """
        after, seen = '', set()
        while True:
            page = self._guest.call('list', path=path, after=after)
            for entry in page['entries']:
                name = entry['name']
                if name in ('', '.', '..') or '/' in name or '\0' in name:
                    raise errors.GuestError(f'{path!r} cannot hold {name!r}')
                # Or a link could be made, and then something through it.
                if name in seen:
                    raise errors.GuestError(f'{path!r} cannot hold {name!r} twice')
                seen.add(name)
                yield entry
            if page['next'] is None:
                return
            after = page['next']

    def _push_folder(self, source: str, path: str, settings: dict[str, Any]) -> None:
        folders = []
        waiting = [(source, path)]
        while waiting:
            source, path = waiting.pop()
            self._guest.call('mkdir', path=path, parents=True)
            folders.append((path, _look(source)))
            small: list[Callable[[], int]] = []
            for name in _names(source):
                here, there = os.path.join(source, name), f'{path.rstrip("/")}/{name}'
                found = _look(here)
                mode = found.st_mode
                if stat.S_ISDIR(mode):
                    waiting.append((here, there))
                elif stat.S_ISLNK(mode):
                    self._push_link(os.readlink(here), there)
                elif not stat.S_ISREG(mode):
                    self._skipped(f'{here}: it is neither file, folder nor link')
                elif found.st_size <= carrying.PART:
                    put = functools.partial(self._carrier.put, here, there, **settings)
                    small.append(put)
                else:
                    self._carrier.push(here, there, **settings)
                self.files += stat.S_ISREG(mode)
            self._carrier.at_once(small)
        for path, found in reversed(folders):
            self._guest.call('chmod', path=path, permissions=found.st_mode & 0o777)
            if settings:
                self._guest.call('chown', path=path, **settings)
            self._guest.call('utime', path=path, modified=found.st_mtime_ns)

    def _push_link(self, target: str, path: str) -> None:
        try:
            found = self._guest.call('stat', path=path, follow=False)
        except errors.InvalidArgument:
            found = None
        if found is not None and found['type'] == 'link':
            if self._guest.call('readlink', path=path)['target'] == target:
                return
            self._guest.call('remove', path=path)
        self._guest.call('symlink', path=path, target=target)

    def _is_folder(self, path: str) -> bool:
        try:
            return bool(self._guest.call('stat', path=path)['type'] == 'folder')
        except errors.InvalidArgument:
            return False


def _own_name(path: str) -> str:
    """Return the last name in a path.

    :raises guestagent.errors.InvalidArgument: there is none.
    """
    name = os.path.basename(path.rstrip('/'))
    if name in ('', '.', '..'):
        raise errors.InvalidArgument(f'{path!r}: name the file that it is to be here')
    return name


def _make_folder(path: str) -> None:
    """Make a folder here; what is no link to one may be there already.

    :raises guestagent.ctl.flow.LocalError: it cannot be made.
    """
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise
    except OSError as error:
        raise flow.local(path, error) from None


def _make_link(path: str, target: str) -> None:
    """Make a link here, in the place of another one if need be.

    :raises guestagent.ctl.flow.LocalError: it cannot be made.
    """
    try:
        if os.path.islink(path):
            os.unlink(path)
        os.symlink(target, path)
    except OSError as error:
        raise flow.local(path, error) from None


def _look(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise flow.local(path, error) from None


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise flow.local(path, error) from None

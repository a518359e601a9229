# SPDX-License-Identifier: Apache-2.0
"""Whose rights the agent has: it becomes a user of its own, if it may.

What an extension in a process of its own needs of other users' rights, root's too,
stays with the launcher (:mod:`guestagent.agent.isolation.launcher`), which is started
before.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors
from guestagent.agent import finding, instance, machine, registry
from guestagent.conf import config, isolation

if TYPE_CHECKING:
    from guestagent.agent.isolation import launcher


def apply(conf: config.Config, starts: bool) -> None:
    """Become ``[DEFAULT] user``; leave a launcher behind, where there is one to be.

    There must be no other thread.

    :param starts: whether the agent is to run, and not only to look at things.
    :raises guestagent.errors.ConfigError: there is no such user, or only root could.
    """
    own = os.geteuid()
    wanted = find(conf.user, '[DEFAULT] user') if conf.user else None
    users = _users(conf)
    for option, account in {**users, '[DEFAULT] user': wanted}.items():
        if account is not None and own not in (0, account.uid):
            raise errors.ConfigError(
                f'{option}: only an agent that is started as root can become another '
                f'user; this one is user {own}'
            )
    if own != 0 or (wanted is None and not users):
        return
    from guestagent.agent.isolation import launcher, launching  # few agents have one

    account = wanted or launcher.Account(0, os.getegid(), os.getgroups())
    orders = _orders(conf, account)
    if not conf.instance_id:
        # The firmware's name of the machine is for root's eyes only.  A guest that is
        # to be enrolled needs none yet; any other is told later.
        with contextlib.suppress(errors.ConfigError):
            conf.give('instance_id', instance.find(None))
    if starts:
        _hand_over(conf, account)
        machine.keep()
    if orders:
        launching.use(launching.begin(orders))
    if wanted is not None:
        wanted.assume()


def find(user: str, option: str) -> launcher.Account:
    """Return a user, by name or number.

    :raises guestagent.errors.ConfigError: there is none.
    """
    import pwd  # most agents need neither

    from guestagent.agent.isolation import launcher

    try:
        number = int(user) if user.isascii() and user.isdigit() else None
        entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except (KeyError, ValueError, OverflowError):
        raise errors.ConfigError(f'{option}: there is no user {user!r}') from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return launcher.Account(entry.pw_uid, entry.pw_gid, groups)


def notes(conf: Any, loaded: Iterable[registry.Loaded]) -> list[str]:
    """Return what to say of extensions that need root, and are not."""
    agent = find(conf.user, '').uid if conf.user else os.geteuid()
    found = []
    for one in loaded:
        needs = one.instance.needs_root if one.instance is not None else ''
        # One in the agent's process has the option too, and it says nothing there.
        apart = hasattr(one.instance, 'isolated_process')
        user = conf[one.name].isolate_user if needs and apart else ''
        if needs and (find(user, '').uid if user else agent) != 0:
            found.append(
                f'extension {one.name} does not run as root, and needs it {needs}'
            )
    return found


def _users(conf: Any) -> Mapping[str, launcher.Account]:
    """Return the users that processes of extensions are to run as, by the option."""
    found = {}
    for name in conf.enabled_extensions:
        if name not in registry.RESERVED:
            conf.register_opts(isolation.OPTIONS, group=name)
            if conf[name].isolate_user:
                option = f'[{name}] isolate_user'
                found[option] = find(conf[name].isolate_user, option)
    return found


def _orders(conf: Any, own: launcher.Account) -> dict[str, launcher.Order]:
    """Return how each extension with a process of its own is run.

    :param own: the agent's user, which is that of those without another.
    """
    from guestagent.agent.isolation import launcher, loading

    sources = {entry.name: entry.value for entry in finding.entry_points()}
    orders = {}
    for name in conf.enabled_extensions:
        if name in registry.RESERVED:
            continue
        isolation.register(conf, name, name in sources)
        if isolation.is_apart(conf, name, name in sources):
            section = conf[name]
            user = section.isolate_user
            orders[name] = launcher.Order(
                loading.program(name, conf, sources.get(name)),
                loading.limits_of(section),
                find(user, f'[{name}] isolate_user') if user else own,
            )
    return orders


def _hand_over(conf: Any, account: launcher.Account) -> None:
    """Give what of root's the agent goes on to use to its user.

    That is the folder of the state and what is in it, the keys, and the log: an agent
    that was root until now starts as another user, too.

    :raises guestagent.errors.ConfigError: that cannot be.
    """
    _hand_over_folder(conf.state_dir, account)
    _prepare_area(conf.freeze.folder, account)
    files = {'[seal] key_file': conf.seal.key_file, '[DEFAULT] log_file': conf.log_file}
    for option, path in files.items():
        try:
            if path:
                _give(path, None, account)
        except FileNotFoundError:
            pass  # who needs it says so
        except OSError as error:
            raise errors.ConfigError(
                f'{option}: {path}: {error.strerror or error}'
            ) from None


def _hand_over_folder(folder: str, account: launcher.Account) -> None:
    try:
        # One that is there may be on a frozen disk, for which its making would wait.
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700)
        for _, folders, files, fd in os.fwalk(folder):
            for name in (*folders, *files):
                _give(name, fd, account)
        _give(folder, None, account)
    except OSError as error:
        raise errors.ConfigError(
            f'[DEFAULT] state_dir: {folder}: {error.strerror or error}'
        ) from None


def _prepare_area(folder: str, account: launcher.Account) -> None:
    """Have a folder in which the agent may write while its disk is frozen.

    Without it the agent does as well, but its disk cannot be frozen.
    """
    with contextlib.suppress(OSError):  # who wants to freeze it is told
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for _, folders, files, fd in os.fwalk(folder):
            for name in (*folders, *files):
                _give(name, fd, account)
        _give(folder, None, account)


def _give(name: str, folder: int | None, account: launcher.Account) -> None:
    """Give away what is root's, unless it may be in another place, too.

    The folder may be another user's already, who would like us to be led astray.
    """
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        return
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(fd)
        single = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
        if found.st_uid == 0 and single:
            os.fchown(fd, account.uid, account.gid)
    finally:
        os.close(fd)

# SPDX-License-Identifier: Apache-2.0
"""``accounts``: set the passwords of the guest's users, and their SSH keys.

What a command needs is imported when the first one runs: an idle agent does without
it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension

if TYPE_CHECKING:
    import pwd

    from oslo_config import cfg

LOG = logging.getLogger(__name__)

#: Where the kernel shows that SELinux is at work.
SELINUX = '/sys/fs/selinux/enforce'


class Accounts(extension.Extension):
    """Answers ``accounts.set_password``, and three commands for SSH keys."""

    version = '1.0'
    needs_root = "to set passwords, and to change other users' SSH keys"

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        # Two that change a file at once would undo one another.
        self._lock = threading.Lock()

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of [accounts]."""
        from guestagent_accounts import conf

        return conf.OPTIONS

    @extension.command(
        mutates=True, timeout=60, repeatable=True, sensitive=('password',)
    )
    def set_password(
        self,
        context: extension.Context,
        user: str,
        password: str,
        crypted: bool = False,
    ) -> None:
        """Set the password of a user; ``crypted``: it is what crypt(5) made of it.

        :raises guestagent.errors.InvalidArgument: there is no such user, or this
            cannot be a password.
        :raises guestagent.errors.GuestError: the guest refuses.
        """
        from guestagent_accounts import passwords

        account = _find(user)
        with self._lock:
            passwords.change(account.pw_name, password, crypted, self.conf.path)

    @extension.command(mutates=False, timeout=30)
    def list_keys(self, context: extension.Context, user: str) -> dict[str, Any]:
        """Return the lines of a user's ``~/.ssh/authorized_keys`` that may be keys.

        The result is ``{keys, path, exists}``: the lines without comments; the file;
        and whether it is there.

        :raises guestagent.errors.InvalidArgument: there is no such user.
        :raises guestagent.errors.GuestError: it cannot be read.
        """
        from guestagent_accounts import authorized, keylines

        account = _find(user)
        with authorized.opened(account) as file:
            lines = keylines.listed(file.read())
        return {
            # No text may hold what is no character.
            'keys': [line.encode(errors='replace').decode() for line in lines],
            'path': authorized.path(account),
            'exists': file.exists,
        }

    @extension.command(mutates=True, timeout=30, repeatable=True)
    def add_keys(
        self,
        context: extension.Context,
        user: str,
        keys: list[str],
        replace: bool = False,
    ) -> dict[str, int]:
        """Add SSH keys to those that may log in as a user, or ``replace`` these.

        A key is a line of ``authorized_keys``, with options and comment if need be; one
        that is there with the same options is not added again.  Empty lines do not
        count.  The result is ``{added}``: how many lines were written.

        :raises guestagent.errors.InvalidArgument: there is no such user, or a line is
            no key; nothing was changed.
        :raises guestagent.errors.GuestError: the file cannot be read or written.
        """
        from guestagent_accounts import authorized, keylines

        account = _find(user)
        wanted = keylines.check(keys)
        with self._lock, authorized.opened(account, make=True) as file:
            lines = [] if replace else file.read()
            missing = keylines.added(lines, wanted)
            if missing or replace:
                file.write([*lines, *missing])
        self._restore_context(account)
        return {'added': len(missing)}

    @extension.command(mutates=True, timeout=30, repeatable=True)
    def remove_keys(
        self, context: extension.Context, user: str, keys: list[str]
    ) -> dict[str, int]:
        """Take SSH keys from a user, whatever options and comments they have there.

        The result is ``{removed}``: how many lines were taken out.

        :raises guestagent.errors.InvalidArgument: there is no such user, or a key is
            more than a line.
        :raises guestagent.errors.GuestError: the file cannot be read or written.
        """
        from guestagent_accounts import authorized, keylines

        account = _find(user)
        unwanted = keylines.check_text(keys)
        with self._lock, authorized.opened(account) as file:
            lines = file.read()
            left = keylines.without(lines, unwanted)
            if len(left) != len(lines):
                file.write(left)
        self._restore_context(account)
        return {'removed': len(lines) - len(left)}

    def _restore_context(self, account: pwd.struct_passwd) -> None:
        """Let SELinux's own program label what is new; sshd may not read it before."""
        if not os.path.exists(SELINUX):
            return
        from guestagent_accounts import authorized, programs

        program = programs.find('restorecon', self.conf.path)
        if program is None:
            return
        file = authorized.path(account)
        argv = [program, '--', os.path.dirname(file), file]
        try:
            code, said = programs.run(argv, self.conf.path)
        except errors.GuestError as error:
            code, said = 1, str(error)
        if code != 0:
            LOG.warning('the SELinux context of %s may be wrong: %s', file, said)


def _find(user: str) -> pwd.struct_passwd:
    """Return a user's account.

    :raises guestagent.errors.InvalidArgument: there is none of this name.
    """
    import pwd

    try:
        # The name becomes a part of a line, as is the account's own.
        if user.isprintable() and ':' not in user:
            return pwd.getpwnam(user)
    except (KeyError, ValueError):
        pass
    raise errors.InvalidArgument(f'user: there is no user {user!r} in this guest')

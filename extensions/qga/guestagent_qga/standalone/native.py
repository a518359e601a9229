# SPDX-License-Identifier: Apache-2.0
"""Carries native commands out with the extensions themselves, in this process.

An extension is loaded when a client first needs it.  Its options are those of the
table: oslo.config would be most of this program's memory.
"""

from __future__ import annotations

import importlib
import logging
import threading
import types
from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension

LOG = logging.getLogger(__name__)

#: Who asks, for those extensions that keep what is whose.
CALLER = 'qga'

_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

#: Where each extension is, and its options: what differs from their defaults is what
#: clients of qemu-ga are used to.
EXTENSIONS: dict[str, tuple[str, dict[str, Any]]] = {
    'exec': (
        'guestagent_exec.extension:Exec',
        {
            'path': _PATH,
            'timeout_max': 20 * 86400.0,
            'output_limit_max': 16 * 1024 * 1024,
            'kill_grace': 2.0,
            'max_running': 1024,
            'max_waiting': 4,
            'max_retained': 1024,
            'retain': 86400.0,
            'retain_max': 86400.0,
            'kept_limit_max': 16 * 1024 * 1024,
            'kept_total': 1024 * 1024 * 1024,
        },
    ),
    'file': (
        'guestagent_file.extension:File',
        {
            'allowed_paths': ['/'],
            'denied_paths': [],
            'handles_max': 4096,
            'handle_idle': 7 * 86400.0,
            'read_max': 48 * 1024 * 1024,
            'list_max': 1000,
        },
    ),
    'fsfreeze': (
        'guestagent_fsfreeze.extension:Fsfreeze',
        {
            'limit': 600.0,
            'limit_max': 86400.0,
            'only': [],
            'never': [],
            'hooks': '',
            'hook_timeout': 600.0,
            'folder': '/run/guestagent-fsfreeze',
        },
    ),
    'power': ('guestagent_power.extension:Power', {'path': _PATH, 'moment': 1.0}),
    'hardware': ('guestagent_hardware.extension:Hardware', {}),
    'accounts': ('guestagent_accounts.extension:Accounts', {'path': _PATH}),
    'monitoring': (
        'guestagent_monitoring.extension:Monitoring',
        {
            'period': 60.0,
            'watch_changes': False,
            'change_delay': 1.0,
            'statistics_dir': '',
            'unreported_facts': [],
            'ignored_interfaces': [],
            'ignored_mounts': [],
            'ignored_filesystem_types': [],
        },
    ),
}


class Native(extension.Host):
    """Has extensions, and is what they are given of an agent.

    No path is its own, as with qemu-ga: a client that may write files is root here
    whatever the program would keep back, and what it keeps for itself is no secret.

    :param options: of extensions, over those of the table, by extension and name.
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self._options = options
        self._loaded: dict[str, extension.Extension] = {}
        self._there: dict[str, bool] = {}
        self._lock = threading.RLock()

    def call(
        self,
        namespace: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None = None,
    ) -> Any:
        """Run a command on this thread; the same for a client and an extension.

        :raises guestagent.errors.GuestAgentError: it failed.
        """
        found = getattr(self._load(namespace), method)
        return found(context or extension.Context(CALLER), **arguments)

    def serves(self, namespace: str) -> bool:
        """Whether an extension is installed; it is not loaded for that."""
        found = self._there.get(namespace)
        if found is None:
            import importlib.util  # not before a client asks what there is

            package = EXTENSIONS[namespace][0].partition('.')[0]
            found = importlib.util.find_spec(package) is not None
            self._there[namespace] = found
        return found

    def stop(self) -> None:
        """Stop what was loaded."""
        for name, loaded in reversed(list(self._loaded.items())):
            try:
                loaded.stop()
            except Exception:
                LOG.exception('extension %s failed to stop', name)

    def _load(self, name: str) -> extension.Extension:
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._make(name)
            return self._loaded[name]

    def _make(self, name: str) -> extension.Extension:
        if name not in EXTENSIONS:
            raise errors.ExtensionUnavailable(f'extension {name!r} is not loaded')
        place, defaults = EXTENSIONS[name]
        module, _, kind = place.partition(':')
        try:
            plugin = getattr(importlib.import_module(module), kind)
        except ImportError as error:
            raise errors.ExtensionUnavailable(f'extension {name!r}: {error}') from error
        values = {**defaults, **self._options.get(name, {})}
        made: extension.Extension = plugin(name, types.SimpleNamespace(**values), self)
        made.start()
        return made

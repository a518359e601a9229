# SPDX-License-Identifier: Apache-2.0
"""The life of the server: status, start, stop, restart, and what it is run with."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base

#: What is told of the server's process, and its name in /proc/<pid>/status.
_MEMORY = {
    'vm_size': 'VmSize',
    'vm_peak': 'VmPeak',
    'vm_rss': 'VmRSS',
    'vm_hwm': 'VmHWM',
}


class Life(base.Base):
    """Starts, stops and watches the server."""

    _version = ''
    _told: dict[str, Any] | None = None

    @extension.periodic(spacing=10, option='period')
    def watch(self) -> None:
        """Report how the server is, and watch its process."""
        if self.settle():
            self.control.look()
        facts = {
            'engine': self.engine.name,
            'state': self.control.state(),
            'version': self._server_version(),
        }
        if facts != self._told:
            self.report_facts(facts)
            self._told = facts

    def health(self) -> str:
        """Return what is wrong with the server, as last seen."""
        state = (self._told or {}).get('state')
        return 'the server has crashed' if state == 'crashed' else 'ok'

    @extension.command(mutates=False, timeout=15)
    def status(self, context: extension.Context) -> dict[str, Any]:
        """Return how the server is, told by itself (doc/datastore.rst)."""
        state = self.control.state()
        running = self.records.running
        operation = running.get('operation') or running.get('backup')
        return {
            'state': state,
            'detail': self.engine.last_words() if state == 'crashed' else '',
            'engine': self.engine.name,
            'version': self._server_version(),
            'pid': 0 if state in ('new', 'shutdown', 'crashed') else self.control.pid,
            'enabled': self.records.wanted.enabled,
            'operation': None if operation is None else base.plain(operation),
            'backup': self._backup_status(),
            'interrupted': self.found,
        }

    @extension.command(mutates=True, timeout=None, sensitive=('config',))
    def server_start(
        self, context: extension.Context, config: str | None = None
    ) -> dict[str, Any]:
        """Start the server and wait until it serves; returns its status.

        :param config: the base configuration, to be written first.
        :raises guestagent.errors.InvalidArgument: the server does not take it.
        """
        with self.changing('server_start', context):
            if config is not None:
                self.engine.configure(config)
            self.control.start(context)
        return self.status(context)

    @extension.command(mutates=True, timeout=None, repeatable=True)
    def server_stop(
        self, context: extension.Context, disable: bool = False
    ) -> dict[str, Any]:
        """Stop the server; with ``disable`` it does not start with the guest either."""
        with self.changing('server_stop', context):
            self.control.stop(context, disable)
        return self.status(context)

    @extension.command(mutates=True, timeout=None)
    def server_restart(self, context: extension.Context) -> dict[str, Any]:
        """Stop the server and start it again; returns its status."""
        with self.changing('server_restart', context):
            self.control.restart(context)
        return self.status(context)

    @extension.command(mutates=True, timeout=None, sensitive=('config',))
    def configure(
        self, context: extension.Context, config: str, memory: int = 0
    ) -> dict[str, Any]:
        """Write the base configuration; it counts after the next start.

        :raises guestagent.errors.InvalidArgument: the server does not take it.
        """
        with self.changing('configure', context, beside_backup=True):
            self.engine.configure(config, memory)
        return self.status(context)

    @extension.command(mutates=False, timeout=15)
    def diagnostics(self, context: extension.Context) -> dict[str, Any]:
        """Return what the kernel knows of the server's process; sizes in KiB.

        :raises guestagent.errors.GuestError: it does not run.
        """
        pid = self.control.pid
        try:
            text = pathlib.Path(f'/proc/{pid}/status').read_text() if pid else ''
            files = len(os.listdir(f'/proc/{pid}/fd')) if pid else 0
        except OSError:
            text = ''
        if not text:
            raise errors.GuestError('the server does not run')
        values = dict(line.split(':', 1) for line in text.splitlines())
        return {
            'version': self._server_version(),
            'threads': int(values['Threads']),
            'fd_size': files,
            **{name: int(values[key].split()[0]) for name, key in _MEMORY.items()},
        }

    @extension.command(mutates=False, timeout=15)
    def hardware(self, context: extension.Context) -> dict[str, int]:
        """Return the guest's memory in MiB and its processors."""
        total = pathlib.Path('/proc/meminfo').read_text().split()[1]
        return {'mem_total': int(total) // 1024, 'num_cpus': os.cpu_count() or 1}

    def _backup_status(self) -> dict[str, Any] | None:
        """Return how far the backup is that is being made."""
        backup = self.backup
        if backup is None:
            return None
        percent, text = backup.context.progress
        return {
            'backup_id': backup.backup_id,
            'command_id': backup.context.command_id,
            'percent': percent,
            'text': text,
        }

    def _server_version(self) -> str:
        """Return the version that is installed; ``''``: none."""
        if not self._version:
            try:
                self._version = self.engine.version()
            except errors.GuestError:
                return ''
        return self._version

# SPDX-License-Identifier: Apache-2.0
"""Load and start extensions: those that are enabled, and no others.

stevedore loads them, except those that run in a process of their own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension
from guestagent.agent import finding, signature
from guestagent.conf import agent as agent_options
from guestagent.conf import isolation

if TYPE_CHECKING:
    import importlib.metadata

LOG = logging.getLogger(__name__)

#: Names that the agent and the wire keep for themselves.
RESERVED = ('agent', 'sealed')


class Command:
    """A command that can be called.

    :ivar function: called with (context, **arguments).
    :ivar quiet: its outcome is reported to nobody.
    :raises TypeError: its annotations cannot be checked.
    """

    __slots__ = ('function', 'info', 'quiet', 'signature')

    def __init__(
        self, name: str, function: Callable[..., Any], info: extension.CommandInfo
    ) -> None:
        self.function = function
        self.info = info
        self.quiet = False
        self.signature = signature.Signature(name, function)


class Loaded:
    """A namespace that is served, or an extension that could not be loaded.

    :ivar instance: ``None`` if it could not be loaded.
    :ivar problem: why it could not be loaded or started, else ``''``.
    :ivar hung: which of its methods does not return, else ``''``.
    """

    __slots__ = (
        'commands',
        'distribution',
        'distribution_version',
        'hung',
        'instance',
        'name',
        'periodics',
        'problem',
        'version',
    )

    def __init__(
        self,
        name: str,
        instance: extension.Extension | None = None,
        *,
        distribution: str | None = None,
        distribution_version: str | None = None,
        problem: str = '',
    ) -> None:
        self.name = name
        self.instance = instance
        self.version = instance.version if instance is not None else ''
        self.distribution = distribution
        self.distribution_version = distribution_version
        self.problem = problem
        self.hung = ''
        self.commands: dict[str, Command] = {}
        self.periodics: list[tuple[Callable[[], None], extension.PeriodicInfo]] = []
        if instance is not None:
            self._collect(instance)

    def _collect(self, instance: extension.Extension) -> None:
        kind = type(instance)
        for name in dir(kind):
            method = getattr(kind, name)
            info = getattr(method, extension.COMMAND_MARK, None)
            if info is not None and not name.startswith('_'):
                self.commands[name] = Command(
                    f'{kind.__name__}.{name}', getattr(instance, name), info
                )
            period = getattr(method, extension.PERIODIC_MARK, None)
            if period is not None:
                self.periodics.append((getattr(instance, name), period))

    def health(self) -> str:
        """Return ``'ok'`` or what is wrong, in one line."""
        if self.problem or self.instance is None:
            return self.problem or 'not loaded'
        if self.hung:
            return self.hung
        try:
            return str(self.instance.health())
        except Exception as error:
            LOG.exception('health() of extension %s failed', self.name)
            return f'health() failed: {error}'

    def summary(self) -> dict[str, Any]:
        """Return what a heartbeat says of it (doc/wire.rst, section 7)."""
        return {
            'version': self.version or None,
            'health': self.health(),
            'distribution': self.distribution,
            'distribution_version': self.distribution_version,
        }


class Registry:
    """What this agent can do: extensions by the namespace that they serve."""

    def __init__(self, conf: Any, host: extension.Host) -> None:
        self._conf = conf
        self._host = host
        # Replaced, never changed: who looks while others are loaded sees one of both.
        self._served: dict[str | None, Loaded] = {}
        self._failed: dict[str, Loaded] = {}
        self._known: set[str] = set()
        self._bare: str | None = None
        self._loading = threading.Lock()

    def find(self, namespace: str | None) -> Loaded | None:
        """Return what serves a namespace, or ``None``."""
        return self._served.get(namespace)

    def bare(self, method: object) -> Loaded | None:
        """Return the extension to which a method without a namespace belongs."""
        own = self._served.get(None)
        if self._bare is None:
            return None
        # It may be anything, and what is no text may not even be looked up.
        if isinstance(method, str) and own is not None and method in own.commands:
            return None
        return self._served.get(self._bare)

    def add(self, namespace: str | None, loaded: Loaded) -> None:
        """Serve a namespace; the agent's own have no entry point."""
        self._served = {**self._served, namespace: loaded}

    def extensions(self) -> list[Loaded]:
        """Return all enabled extensions, those that failed too, by name."""
        served = [
            loaded
            for name, loaded in self._served.items()
            if name is not None and name not in RESERVED
        ]
        return sorted([*served, *self._failed.values()], key=lambda item: item.name)

    def command_names(self) -> list[str]:
        """Return the commands of all extensions, as ``<extension>.<verb>``."""
        return [
            f'{loaded.name}.{verb}'
            for loaded in self.extensions()
            for verb in sorted(loaded.commands)
        ]

    def unread_sections(self, wanted: Iterable[str] = ()) -> set[str]:
        """Return the sections of extensions that are installed or wanted, not loaded.

        Such a section may stay in the configuration: it is for another day.

        :param wanted: those that are wanted now, if others than before.
        """
        return {*self._known, *wanted} - {
            name for name in self._served if name is not None
        }

    def load(self, names: Iterable[str], required: bool) -> None:
        """Load and register the named extensions.

        :param required: an extension that is missing or broken stops the start.
        :raises guestagent.errors.ConfigError: two extensions claim one name, or the
            requests without a namespace; a name is reserved, or a required one cannot
            be loaded.
        """
        for loaded in self._load(list(dict.fromkeys(names))):
            self.add(loaded.name, loaded)
        if required:
            self._require()

    def load_more(self, names: Iterable[str]) -> list[Loaded]:
        """Load and start those that do not serve yet, or failed; return these.

        What is named no more goes on until the agent ends.  Others may ask meanwhile;
        it may take seconds.

        :raises guestagent.errors.ConfigError: as :meth:`load` does.
        """
        with self._loading:
            wanted = [name for name in dict.fromkeys(names) if name not in self._served]
            self._failed = {
                name: loaded
                for name, loaded in self._failed.items()
                if name not in wanted
            }
            started = [made for made in self._load(wanted) if self._start(made)]
            for loaded in started:
                self.add(loaded.name, loaded)
            return started

    def look_around(self) -> None:
        """Learn which extensions are installed by now."""
        self._known.update(entry.name for entry in finding.entry_points())

    def _load(self, wanted: list[str]) -> list[Loaded]:
        """Return what could be made of those that are wanted."""
        for name in wanted:
            if name in RESERVED:
                raise errors.ConfigError(
                    f"enabled_extensions: the name {name!r} is the agent's own"
                )
        found = finding.entry_points()
        # A file that came with the agent has sections of these.
        usual = (*agent_options.EXTENSIONS, *agent_options.PACKAGED)
        self._known.update((*wanted, *usual, *(entry.name for entry in found)))
        finding.refuse_conflicts(wanted, found)
        sources = {entry.name: entry for entry in found}
        for name in wanted:
            isolation.register(self._conf, name, name in sources)
        apart = {
            name
            for name in wanted
            if isolation.is_apart(self._conf, name, name in sources)
        }
        here = [name for name in wanted if name not in apart]
        manager = finding.Manager(here, found, self._note_broken)
        plugins = {plugin.name: plugin for plugin in manager.extensions}
        made: list[Loaded | None] = []
        for name in wanted:
            if name in apart:
                made.append(self._load_apart(name, sources.get(name)))
            elif name in plugins:
                entry = plugins[name].entry_point
                about = finding.distribution(entry)
                made.append(self._make(name, plugins[name].plugin, entry.value, about))
            elif name not in self._failed:
                self._fail(
                    name,
                    f'no installed package has the entry point {name!r} '
                    f'in the group {finding.GROUP}',
                    {},
                )
        return [loaded for loaded in made if loaded is not None]

    def _note_broken(
        self, _manager: Any, entry: importlib.metadata.EntryPoint, error: BaseException
    ) -> None:
        """Take note of an entry point that cannot be loaded."""
        LOG.debug('loading %s', entry.value, exc_info=error)
        self._fail(
            entry.name,
            f'cannot be loaded from {entry.value}: {type(error).__name__}: {error}',
            finding.distribution(entry),
        )

    def _load_apart(
        self, name: str, entry: importlib.metadata.EntryPoint | None
    ) -> Loaded | None:
        """Ask the process of an extension what it is, and make what stands for it."""
        from guestagent.agent.isolation import loading  # few agents have one

        about = finding.distribution(entry) if entry is not None else {}
        try:
            value = entry.value if entry is not None else None
            argv = loading.program(name, self._conf, value)
            plugin = loading.load(name, self._conf, argv)
        except Exception as error:
            LOG.debug('loading extension %s', name, exc_info=True)
            self._fail(name, str(error), about)
            return None
        return self._make(name, plugin, ' '.join(argv), about)

    def start(self, required: bool) -> None:
        """Start the extensions, in the order in which they were named."""
        for name, loaded in self._served.items():
            if name is not None and not self._start(loaded):
                self._served = {
                    key: other for key, other in self._served.items() if key != name
                }
        if required:
            self._require()

    def _start(self, loaded: Loaded) -> bool:
        """Start an extension; return whether it serves."""
        if loaded.instance is None:
            return True
        try:
            loaded.instance.start()
        except Exception as error:
            loaded.problem = f'failed to start: {error}'
            LOG.exception('extension %s: %s', loaded.name, loaded.problem)
            self._failed = {**self._failed, loaded.name: loaded}
            return False
        return True

    def stop(self) -> None:
        """Stop the extensions, in the reverse order."""
        for name, loaded in reversed(list(self._served.items())):
            if name is None or loaded.instance is None:
                continue
            try:
                loaded.instance.stop()
            except Exception:
                LOG.exception('extension %s failed to stop', name)

    def rouse(self, name: str) -> None:
        """Have the process of an extension start, if it has one of its own."""
        loaded = self._served.get(name)
        rouse = getattr(loaded.instance, 'rouse', None) if loaded is not None else None
        if rouse is not None:
            rouse()

    def tell_interrupted(self, command: str, command_id: str) -> None:
        """Tell an extension that a command of its was cut short."""
        name, _, method = command.partition('.')
        loaded = self._served.get(name)
        if loaded is None or loaded.instance is None:
            return
        try:
            loaded.instance.interrupted(method, command_id)
        except Exception:
            LOG.exception('interrupted() of extension %s failed', name)

    def call(
        self,
        name: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """Run a command of one extension for another, on this thread.

        :raises guestagent.errors.ExtensionUnavailable: it is not loaded.
        :raises guestagent.errors.NoSuchMethod: it has no such command.
        :raises TypeError: the arguments do not fit.
        """
        loaded = self._served.get(name)
        if loaded is None:
            raise errors.ExtensionUnavailable(f'extension {name!r} is not loaded')
        command = loaded.commands.get(method)
        if command is None:
            raise errors.NoSuchMethod(method)
        command.signature.check(dict(arguments))
        return command.function(context or extension.Context(), **arguments)

    def make(self, name: str, plugin: type[extension.Extension], source: str) -> None:
        """Make an extension of its class and serve it.

        :param source: where the class is from, for messages.
        :raises guestagent.errors.ConfigError: another one answers, as it does, requests
            without a namespace.
        """
        loaded = self._make(name, plugin, source, {})
        if loaded is not None:
            self.add(name, loaded)

    def _make(
        self,
        name: str,
        plugin: type[extension.Extension],
        source: str,
        about: Mapping[str, Any],
    ) -> Loaded | None:
        """Make an extension of its class; what an author may get wrong is said here.

        :param about: its distribution and that one's version, as :class:`Loaded`
            takes them.
        """
        try:
            if not (
                isinstance(plugin, type) and issubclass(plugin, extension.Extension)
            ):
                raise TypeError(f'{source} is no guestagent.extension.Extension')
            options = plugin.list_options()
            if options:
                self._conf.register_opts(options, group=name)
            section = self._conf[name] if options else None
            instance = plugin(name, section, self._host)
            loaded = Loaded(name, instance, **about)
        except Exception as error:
            LOG.debug('making extension %s', name, exc_info=True)
            self._fail(name, f'{type(error).__name__}: {error}', about)
            return None
        if instance.bare:
            self._choose_bare(name)
        return loaded

    def _choose_bare(self, name: str) -> None:
        if self._bare is not None:
            raise errors.ConfigError(
                f'enabled_extensions: {self._bare} and {name} both answer requests '
                f'without a namespace; enable one of them'
            )
        self._bare = name

    def _fail(self, name: str, problem: str, about: Mapping[str, Any]) -> None:
        LOG.error('extension %s: %s', name, problem)
        self._failed = {**self._failed, name: Loaded(name, problem=problem, **about)}

    def _require(self) -> None:
        if self._failed:
            what = '; '.join(
                f'{name}: {loaded.problem}' for name, loaded in self._failed.items()
            )
            raise errors.ConfigError(
                f'require_extensions is set, and not all could be loaded: {what}'
            )

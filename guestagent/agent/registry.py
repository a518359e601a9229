# SPDX-License-Identifier: Apache-2.0
"""Find, load and start extensions: those that are enabled, and no others.

stevedore loads them, except those that run in a process of their own.  The list of
entry points is read here, once, so that each extension's distribution is known and no
cache file is written into a home folder.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stevedore import named

from guestagent import errors, extension
from guestagent.agent import signature
from guestagent.conf import agent as agent_options
from guestagent.conf import isolation

LOG = logging.getLogger(__name__)

GROUP = 'guestagent.extensions'

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


class _Manager(named.NamedExtensionManager[Any]):
    """stevedore's manager on a list of entry points that was read already."""

    def __init__(
        self,
        names: list[str],
        found: list[importlib.metadata.EntryPoint],
        failed: Callable[[Any, Any, BaseException], None],
    ) -> None:
        self._found = found
        super().__init__(
            GROUP,
            names,
            name_order=False,
            on_load_failure_callback=failed,
            on_missing_entrypoints_callback=None,
        )

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        """Return the list that was given."""
        return self._found


class Registry:
    """What this agent can do: extensions by the namespace that they serve."""

    def __init__(self, conf: Any, host: extension.Host) -> None:
        self._conf = conf
        self._host = host
        self._served: dict[str | None, Loaded] = {}
        self._failed: dict[str, Loaded] = {}
        self._known: set[str] = set()
        self._bare: str | None = None

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
        self._served[namespace] = loaded

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

    def unread_sections(self) -> set[str]:
        """Return the sections of extensions that are installed or wanted, not loaded.

        Such a section may stay in the configuration: it is for another day.
        """
        return self._known - {name for name in self._served if name is not None}

    def load(self, names: Iterable[str], required: bool) -> None:
        """Load and register the named extensions.

        :param required: an extension that is missing or broken stops the start.
        :raises guestagent.errors.ConfigError: two extensions claim one name, or the
            requests without a namespace; a name is reserved, or a required one cannot
            be loaded.
        """
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name in RESERVED:
                raise errors.ConfigError(
                    f"enabled_extensions: the name {name!r} is the agent's own"
                )
        found = entry_points()
        # A file that came with the agent has sections of its usual extensions.
        usual = agent_options.EXTENSIONS
        self._known = {*wanted, *usual, *(entry.name for entry in found)}
        _refuse_conflicts(wanted, found)

        def failed(
            _manager: Any, entry: importlib.metadata.EntryPoint, error: BaseException
        ) -> None:
            LOG.debug('loading %s', entry.value, exc_info=error)
            self._fail(
                entry.name,
                f'cannot be loaded from {entry.value}: {type(error).__name__}: {error}',
                _distribution(entry),
            )

        sources = {entry.name: entry for entry in found}
        for name in wanted:
            isolation.register(self._conf, name, name in sources)
        apart = {
            name
            for name in wanted
            if isolation.is_apart(self._conf, name, name in sources)
        }
        here = [name for name in wanted if name not in apart]
        manager = _Manager(here, found, failed)
        plugins = {plugin.name: plugin for plugin in manager.extensions}
        for name in wanted:
            if name in apart:
                self._load_apart(name, sources.get(name))
            elif name in plugins:
                entry = plugins[name].entry_point
                self.make(name, plugins[name].plugin, entry.value, _distribution(entry))
            elif name not in self._failed:
                self._fail(
                    name,
                    f'no installed package has the entry point {name!r} '
                    f'in the group {GROUP}',
                    {},
                )
        if required:
            self._require()

    def _load_apart(
        self, name: str, entry: importlib.metadata.EntryPoint | None
    ) -> None:
        """Ask the process of an extension what it is, and make what stands for it."""
        from guestagent.agent.isolation import loading  # few agents have one

        about = _distribution(entry) if entry is not None else {}
        try:
            value = entry.value if entry is not None else None
            argv = loading.program(name, self._conf, value)
            plugin = loading.load(name, self._conf, argv)
        except Exception as error:
            LOG.debug('loading extension %s', name, exc_info=True)
            self._fail(name, str(error), about)
        else:
            self.make(name, plugin, ' '.join(argv), about)

    def start(self, required: bool) -> None:
        """Start the extensions, in the order in which they were named."""
        for name, loaded in list(self._served.items()):
            if name is None or loaded.instance is None:
                continue
            try:
                loaded.instance.start()
            except Exception as error:
                loaded.problem = f'failed to start: {error}'
                LOG.exception('extension %s: %s', name, loaded.problem)
                del self._served[name]
                self._failed[name] = loaded
        if required:
            self._require()

    def stop(self) -> None:
        """Stop the extensions, in the reverse order."""
        for name, loaded in reversed(list(self._served.items())):
            if name is None or loaded.instance is None:
                continue
            try:
                loaded.instance.stop()
            except Exception:
                LOG.exception('extension %s failed to stop', name)

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

    def make(
        self,
        name: str,
        plugin: type[extension.Extension],
        source: str,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an extension of its class; what an author may get wrong is said here.

        :param source: where the class is from, for messages.
        :param about: its distribution and that one's version, as :class:`Loaded`
            takes them.
        :raises guestagent.errors.ConfigError: another one answers, as it does, requests
            without a namespace.
        """
        about = about or {}
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
        else:
            self._served[name] = loaded
            if instance.bare:
                self._choose_bare(name)

    def _choose_bare(self, name: str) -> None:
        if self._bare is not None:
            raise errors.ConfigError(
                f'enabled_extensions: {self._bare} and {name} both answer requests '
                f'without a namespace; enable one of them'
            )
        self._bare = name

    def _fail(self, name: str, problem: str, about: Mapping[str, Any]) -> None:
        LOG.error('extension %s: %s', name, problem)
        self._failed[name] = Loaded(name, problem=problem, **about)

    def _require(self) -> None:
        if self._failed:
            what = '; '.join(
                f'{name}: {loaded.problem}' for name, loaded in self._failed.items()
            )
            raise errors.ConfigError(
                f'require_extensions is set, and not all could be loaded: {what}'
            )


def entry_points() -> list[importlib.metadata.EntryPoint]:
    """Return the group's entry points; one that is found twice counts once."""
    found: dict[tuple[str, str, str], importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        owner = entry.dist.name if entry.dist is not None else ''
        found.setdefault((entry.name, entry.value, owner), entry)
    return list(found.values())


def _refuse_conflicts(
    wanted: list[str], found: list[importlib.metadata.EntryPoint]
) -> None:
    for name in wanted:
        claims = [entry for entry in found if entry.name == name]
        if len(claims) > 1:
            both = ' and '.join(
                f'{entry.value} (of {entry.dist.name if entry.dist else "?"})'
                for entry in claims
            )
            raise errors.ConfigError(
                f'extension {name!r} is claimed by {both}; uninstall one of them'
            )


def _distribution(entry: importlib.metadata.EntryPoint) -> dict[str, str]:
    if entry.dist is None:
        return {}
    return {'distribution': entry.dist.name, 'distribution_version': entry.dist.version}

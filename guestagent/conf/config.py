# SPDX-License-Identifier: Apache-2.0
"""oslo.config's values as this project's programs use them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

from oslo_config import cfg

import guestagent
from guestagent import errors
from guestagent.conf import foreign as foreign_files


class Config(cfg.ConfigOpts):
    """The options of a program; :meth:`load` reads them.

    :ivar foreign: the files among them that another control plane has written.
    :ivar remarks: what is to be said of these.
    """

    foreign: frozenset[str] = frozenset()
    remarks: Sequence[str] = ()
    _foreign = foreign_files.Reading({}, {}, ())

    def __init__(self) -> None:
        super().__init__()
        self._program: dict[str, Any] = {}
        self._arguments: Sequence[str] = ()
        self._given: dict[tuple[str | None, str], Any] = {}

    def load(
        self, arguments: Sequence[str], *, prog: str, name: str, description: str
    ) -> None:
        """Read the command line and the files.

        :param name: of the default file: ``name.conf`` and ``name.conf.d``.
        :raises oslo_config.cfg.Error: a file is missing or cannot be parsed.
        :raises guestagent.errors.ConfigError: a file is not text.
        :raises SystemExit: the command line is wrong, or was a question.
        """
        self._arguments = arguments
        self._program = {'prog': prog, 'name': name, 'description': description}
        try:
            self(
                arguments,
                project='guestagent',
                prog=prog,
                version=guestagent.__version__,
                description=description,
                default_config_files=cfg.find_config_files('guestagent', name),
                default_config_dirs=cfg.find_config_dirs('guestagent', name),
            )
        except UnicodeDecodeError as error:
            raise errors.ConfigError(
                f'a configuration file is not UTF-8 text: {error}'
            ) from None
        self._adopt(foreign_files.find(self.files()))

    def again(self) -> Self:
        """Return what the same call gives now, with the same options registered.

        :raises: as :meth:`load` does.
        """
        fresh = type(self)()
        for option, group, cli in self.registered():
            fresh.register_opt(option, group, cli)
        fresh.load(self._arguments, **self._program)
        for (group, name), value in self._given.items():
            fresh.give(name, value, group)
        return fresh

    def give(self, name: str, value: Any, group: str | None = None) -> None:
        """Set an option, whatever the files say, now and when they are read again."""
        self._given[group, name] = value
        self.set_override(name, value, group)

    def register_opt(
        self, opt: Any, group: Any = None, *args: Any, **kwargs: Any
    ) -> bool:
        """As oslo.config does; with what another's files have said of it before."""
        added: bool = super().register_opt(opt, group, *args, **kwargs)
        name = group if group is None or isinstance(group, str) else group.name
        if self._mutable_ns is not None and not opt.mutable:
            self._update(opt, name)
        self._take_over(name, opt.dest)
        return added

    def _update(self, opt: Any, group: str | None) -> None:
        """Let an option that comes after a reload say what the files say since.

        oslo.config would look into those that were read first.

        :raises oslo_config.cfg.Error: the value is wrong.
        """
        self.clear_override(opt.dest, group)
        value, where = self._do_get(opt.dest, group, self._mutable_ns)
        if where is not None and where.location is cfg.Locations.user:
            self.set_override(opt.dest, value, group)

    def _adopt(self, found: foreign_files.Found | None) -> None:
        if found is None:
            return
        self.foreign, self._foreign = found.files, found.reading
        self.remarks = found.reading.warnings
        for option, group, _ in list(self.registered()):
            self._take_over(group, option.dest)

    def _take_over(self, group: str | None, name: str) -> None:
        if (group, name) in self._foreign.values:
            self.set_override(name, self._foreign.values[group, name], group)
        if (group, name) in self._foreign.defaults:
            self.set_default(name, self._foreign.defaults[group, name], group)

    def registered(self) -> Iterator[tuple[Any, str | None, bool]]:
        """Return each option, its group (``None``: DEFAULT), whether it has a switch.

        What oslo.config registers for itself is left out.
        """
        for info, group in self._all_opt_infos():
            if group is not None or info['opt'].dest not in (
                'config_file',
                'config_dir',
            ):
                name = None if group is None else group.name
                yield info['opt'], name, info['cli']

    def files(self) -> list[str]:
        """Return the paths of the files that were read."""
        found = [os.path.abspath(path) for path in self.config_file or ()]
        for folder in self.config_dir or ():
            found += sorted(glob.glob(os.path.join(os.path.abspath(folder), '*.conf')))
        return found

    def value(self, option: Any, group: str | None) -> Any:
        """Return an option's value.

        :raises oslo_config.cfg.Error: it is wrong.
        """
        section = self if group is None else self[group]
        return section[option.dest]

    def _validate_cli_options(self, namespace: Any) -> None:
        """Leave it to :mod:`guestagent.conf.check`, which names the file too."""

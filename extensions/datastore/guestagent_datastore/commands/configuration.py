# SPDX-License-Identifier: Apache-2.0
"""The configuration beside the operator's text: overrides of single parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base, models


class Configuration(base.Base):
    """Shows parameters, and sets and resets overrides."""

    @extension.command(mutates=False, timeout=30)
    def config_show(
        self, context: extension.Context, names: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return these parameters of the server, or all, with what is in effect.

        :raises guestagent.errors.InvalidArgument: the server has no such parameter.
        """
        return [base.plain(parameter) for parameter in self.engine.parameters(names)]

    @extension.command(mutates=True, timeout=120, repeatable=True)
    def config_set(
        self,
        context: extension.Context,
        overrides: dict[str, str | int | float | bool],
        apply: bool = True,
    ) -> dict[str, Any]:
        """Keep overrides beside earlier ones, and apply them where the server can.

        :returns: ``{applied, restart_required}``, names; with ``apply`` false all are
            in the second.
        :raises guestagent.errors.InvalidArgument: names each that makes no sense;
            nothing has changed.
        """
        with self.changing('config_set', context, beside_backup=True):
            self._spare_backup(overrides if apply else ())
            return base.plain(self.override(overrides, apply))

    @extension.command(mutates=True, timeout=120, repeatable=True)
    def config_apply(self, context: extension.Context) -> dict[str, Any]:
        """Have the server take all overrides that are kept.

        :returns: ``{applied, restart_required}``, names.
        """
        with self.changing('config_apply', context, beside_backup=True):
            self._spare_backup(self.engine.overrides())
            return base.plain(self.engine.apply_overrides())

    @extension.command(mutates=True, timeout=120, repeatable=True)
    def config_reset(
        self,
        context: extension.Context,
        names: list[str] | None = None,
        apply: bool = True,
    ) -> dict[str, Any]:
        """Forget these overrides, or all, and go back to the values without them.

        :returns: ``{applied, restart_required}``, names.
        """
        with self.changing('config_reset', context, beside_backup=True):
            if apply:
                self._spare_backup(self.engine.overrides() if names is None else names)
            forgotten = self.engine.reset_overrides(names)
            return base.plain(self._apply(forgotten, apply))

    def override(
        self, overrides: dict[str, models.Value], apply: bool = True
    ) -> models.Applied:
        """Check, keep and apply overrides; what cannot be applied is not kept.

        :raises guestagent.errors.InvalidArgument: names each that makes no sense.
        """
        before = self.engine.overrides()
        self.engine.check_overrides(overrides)
        self.engine.set_overrides(overrides)
        try:
            return self._apply(tuple(overrides), apply)
        except errors.GuestAgentError:
            self.engine.reset_overrides(tuple(overrides))
            self.engine.set_overrides(
                {name: value for name, value in before.items() if name in overrides}
            )
            raise

    def _spare_backup(self, names: Iterable[str]) -> None:
        """Refuse what cannot change in the server while a backup is made of it.

        :raises guestagent.errors.Transient: names the backup.
        """
        given = {name.lower().replace('-', '_') for name in names}
        found = sorted(given & self.engine.spoils_backup)
        if self.backup is not None and found:
            raise errors.Transient(
                f'{self.backup}: {", ".join(found)} has to wait for its end'
            )

    def _apply(self, names: tuple[str, ...], apply: bool) -> models.Applied:
        if not apply or self.control.state() != 'healthy':
            return models.Applied(restart_required=names)
        return self.engine.apply_overrides(names)

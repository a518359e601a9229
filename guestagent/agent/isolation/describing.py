# SPDX-License-Identifier: Apache-2.0
"""Have an extension described, and its options read, by a process that then ends.

oslo.config and what that imports are more than the rest of many an extension: who does
not import it with its class (:meth:`guestagent.extension.Extension.list_options`) never
has it in the process that stays.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from guestagent import errors, extension
from guestagent.agent.isolation import stdio

LOG = logging.getLogger(__name__)


class Describer:
    """Does it in this process."""

    def __init__(self, name: str, kind: type[extension.Extension]) -> None:
        self._name = name
        self._kind = kind

    def describe(self) -> dict[str, Any]:
        """Return the hello, without its type.

        :raises TypeError: it is no extension, or an annotation cannot be checked.
        """
        from guestagent.agent.isolation import description

        return description.describe(self._kind)

    def section(self, texts: Mapping[str, Any]) -> Any:
        """Return the section of the extension, its options read from their texts.

        :raises guestagent.errors.ConfigError: one of them makes no sense.
        """
        from guestagent.agent.isolation import description

        return description.section(self._name, self._kind, texts)


class Section(Mapping[str, Any]):
    """The values of an extension's options, as oslo.config would give them."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._values = values

    def __getattr__(self, option: str) -> Any:
        try:
            return self._values[option]
        except KeyError:
            raise AttributeError(f'no option {option} in [{self._name}]') from None

    def __getitem__(self, option: str) -> Any:
        return self._values[option]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Forked(Describer):
    """Does it in a process of its own, which ends with the options read.

    There must be no other thread yet.

    :raises OSError: the guest is short of what it takes.
    """

    def __init__(self, name: str, kind: type[extension.Extension]) -> None:
        super().__init__(name, kind)
        theirs, answers = os.pipe()
        texts, ours = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(theirs)
            os.close(ours)
            self._be(texts, answers)
        os.close(texts)
        os.close(answers)
        self._answers = open(theirs, 'rb')  # noqa: SIM115 (closed with the options read)
        self._texts = open(ours, 'wb', buffering=0)  # noqa: SIM115

    def describe(self) -> dict[str, Any]:
        """See the base class.

        :raises SystemExit: it cannot be done; the other process has said why.
        """
        line = self._answers.readline()
        if not line:
            raise SystemExit(1)
        hello: dict[str, Any] = json.loads(line)
        return hello

    def section(self, texts: Mapping[str, Any]) -> Any:
        """See the base class."""
        with self._answers, self._texts, contextlib.suppress(BrokenPipeError):
            self._texts.write(stdio.encode(texts))
            self._texts.close()
            line = self._answers.readline()
        os.waitpid(self._pid, 0)
        if not line:
            raise errors.GuestError(f'the options of [{self._name}] cannot be read')
        answer = json.loads(line)
        if 'error' in answer:
            raise stdio.error(answer)
        if 'values' in answer:
            return Section(self._name, answer['values'])
        return super().section(texts)

    def _be(self, texts: int, answers: int) -> NoReturn:
        """Be the other process."""
        code = 1
        try:
            with open(texts, 'rb') as asked, open(answers, 'wb', buffering=0) as told:
                told.write(stdio.encode(super().describe()))
                line = asked.readline()
                if line:
                    told.write(stdio.encode(self._read(json.loads(line))))
            code = 0
        except BrokenPipeError:
            pass  # the other process has gone
        except Exception:
            LOG.exception('the extension cannot be described')
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _read(self, texts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values, the error, or nothing: the other process does it then."""
        try:
            section = super().section(texts)
        except Exception as error:  # noqa: BLE001 (the agent is told)
            return stdio.failure(error)
        try:
            values = dict(section)
            carried = json.loads(json.dumps(values)) == values
        except Exception:  # noqa: BLE001 (it is found again where the value is used)
            carried = False
        return {'values': values} if carried else {}


def make(name: str, kind: Any) -> Describer:
    """Return what describes a class: another process, where this one gains by that."""
    own = getattr(getattr(kind, 'list_options', None), '__func__', None)
    gains = own not in (None, extension.Extension.list_options.__func__)  # type: ignore[attr-defined]
    alone = threading.active_count() == 1
    if gains and alone and 'oslo_config' not in sys.modules:
        return Forked(name, kind)
    return Describer(name, kind)

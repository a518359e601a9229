# SPDX-License-Identifier: Apache-2.0
"""Rows that are printed as they come, because nobody knows how many there will be."""

import argparse
import csv
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TextIO

from guestagent import errors
from guestagent.ctl import base


class Streamer(base.Lister):
    """A command that prints a table, or, with the option ``endless``, row after row.

    :cvar endless: the name of the option.
    :cvar widths: of columns, in characters, so that most rows stand below each other.
    """

    endless: str
    widths: ClassVar[Mapping[str, int]]

    def parse(
        self, parser: argparse.ArgumentParser, argv: list[str]
    ) -> argparse.Namespace:
        """Return the parsed arguments; what has no end cannot be sorted."""
        parsed = super().parse(parser, argv)
        if getattr(parsed, self.endless) and parsed.sort_columns:
            self.usage_error(f'--sort-column cannot stand beside --{self.endless}')
        return parsed

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        """Print the table, or the rows until they are interrupted."""
        if not getattr(parsed_args, self.endless):
            return int(super().produce_output(parsed_args, column_names, data))
        chosen, selector = self._generate_columns_and_selector(
            parsed_args, column_names
        )
        writer = _WRITERS[parsed_args.formatter](
            self.app.stdout, chosen, [self.widths.get(name, 0) for name in chosen]
        )
        for row in data:
            writer.write(list(itertools.compress(row, selector) if selector else row))
            self.app.stdout.flush()
        return 0

    def trouble(self, error: errors.Transient | None) -> None:
        """Tell that the conductor does not answer, or that it does again."""
        if error is None:
            self.app.LOG.warning('the conductor answers again')
        else:
            self.app.LOG.warning('%s; still trying', ' '.join(str(error).split()))


class _Lines:
    """Columns side by side, as wide as what they have held so far."""

    def __init__(
        self, out: TextIO, columns: Sequence[str], widths: Sequence[int]
    ) -> None:
        self._out, self._widths = out, list(widths)
        self.write(columns)
        out.flush()

    def write(self, row: Sequence[Any]) -> None:
        """Write one line."""
        # One row is one line, whatever a guest has put into it.
        cells = [str(value).replace('\n', '\\n') for value in row]
        self._widths = [
            max(width, len(cell))
            for width, cell in zip(self._widths, cells, strict=True)
        ]
        line = '  '.join(
            cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)
        )
        self._out.write(f'{line.rstrip()}\n')


class _Values:
    """Values with a space between."""

    def __init__(
        self, out: TextIO, columns: Sequence[str], widths: Sequence[int]
    ) -> None:
        self._out = out

    def write(self, row: Sequence[Any]) -> None:
        """Write one line."""
        cells = (str(value).replace('\n', '\\n') for value in row)
        self._out.write(' '.join(cells) + '\n')


class _Csv:
    """Comma-separated values below the names of the columns."""

    def __init__(
        self, out: TextIO, columns: Sequence[str], widths: Sequence[int]
    ) -> None:
        self._writer = csv.writer(
            out, quoting=csv.QUOTE_NONNUMERIC, lineterminator='\n'
        )
        self.write(columns)
        out.flush()

    def write(self, row: Sequence[Any]) -> None:
        """Write one record."""
        self._writer.writerow(row)


class _Json:
    """A JSON object on each line."""

    def __init__(
        self, out: TextIO, columns: Sequence[str], widths: Sequence[int]
    ) -> None:
        self._out, self._columns = out, columns

    def write(self, row: Sequence[Any]) -> None:
        """Write one line."""
        record = dict(zip(self._columns, row, strict=True))
        self._out.write(json.dumps(record, ensure_ascii=False) + '\n')


class _Yaml(_Json):
    """The items of one YAML list."""

    def write(self, row: Sequence[Any]) -> None:
        """Write one item."""
        import yaml

        record = dict(zip(self._columns, row, strict=True))
        yaml.safe_dump([record], self._out, allow_unicode=True, sort_keys=False)


_WRITERS: dict[str, Any] = {
    'table': _Lines,
    'value': _Values,
    'csv': _Csv,
    'json': _Json,
    'yaml': _Yaml,
}

"""CSV and TSV files of the user's, row by row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sftlens.errors import UserError

MAX_CELL = 1 << 24  # letters; the module's own limit of 131,072 is short of some lists of aliases


def read_delimited(
    path: Path,
    *,
    delimiter: str = ",",
    used: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a file with a header, each with the place that an error names.

    Blanks around the names of columns are no part of them, and where the header has blanks after
    its delimiters, neither are those of the other lines.

    Args:
        path: the file, in UTF-8.
        delimiter: one character.
        used: gives the columns that matter of those in the header, or refuses them; None uses all.

    Raises:
        UserError: when the file cannot be read or is malformed, or a column that is used stands
            twice in the header.
    """
    csv.field_size_limit(MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            try:
                header = next(filter(None, reader), [])
                if any(name[:1] == " " for name in header[1:]):  # then so it is in every line
                    file.seek(0)
                    reader = csv.reader(
                        file, strict=True, delimiter=delimiter, skipinitialspace=True
                    )
                    header = next(filter(None, reader))
                if not header:
                    return
                header = [name.strip() for name in header]
                _refuse_repeated(header if used is None else used(header), header, path)
                for cells in filter(None, reader):
                    where = f"{path}, line {reader.line_num}"
                    if len(cells) != len(header):
                        raise UserError(
                            f"{where}: has {len(cells)} fields, not {len(header)} as the header; "
                            "put quotes around text with a delimiter in it"
                        )
                    yield where, dict(zip(header, cells, strict=True))
            except csv.Error as error:
                where = f"{path}, line {reader.line_num}"
                raise UserError(f"{where}: is no CSV ({error}); write the line anew") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); choose another") from None


def _refuse_repeated(used: Sequence[str], header: Sequence[str], path: Path) -> None:
    counts = Counter(header)
    for name in used:
        if counts[name] > 1:
            raise UserError(
                f"{path}, line 1: column {name} stands {counts[name]} times in the header; keep "
                "one of them, or rename the others"
            )

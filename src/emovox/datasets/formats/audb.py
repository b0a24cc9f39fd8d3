"""audformat, the databases of audEERING, by the extra ``data``: a folder with ``db.yaml`` and tables.

Read: every table with a column of emotions (``emotion``, ``label``, ...); the speaker, sex, age and language
come from columns of these names, or from what the scheme of the speakers says about each. A table named
``train``, ``dev`` or ``test`` (also as the last word, ``emotion.test``) tells the part.

Written: one table, ``emotion``, segmented, with a column for each field of an utterance. It holds everything,
times to the nanosecond; a start of 0 is the same as none. Of several utterances over the same span of one
file only the first is written. The table is CSV, or parquet if it holds a word, such as ``NULL``, that the
library takes for an empty cell of a CSV.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emovox.datasets.formats.assembly import assemble
from emovox.datasets.formats.base import FIELDS, CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.formats.columns import make_row
from emovox.datasets.manifest import Manifest, Utterance, root_of
from emovox.datasets.splits import part_of
from emovox.errors import ManifestError, MissingExtraError

__all__ = ["AUDFORMAT"]

_EMOTION_COLUMNS = ("emotion", "emotion_label", "label", "emo", "category", "class")
_EMPTY = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Words that are read out of a CSV as nothing."""
_COLUMNS = tuple(name for name in FIELDS if name not in ("path", "start", "end"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own warnings, such as those of a newer pandas, from our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _library() -> Any:
    try:
        import audformat
    except ImportError as error:
        raise MissingExtraError("reading or writing audformat", "data") from error
    return audformat


def _read(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    audformat = _library()
    folder = source if source.is_dir() else source.parent
    try:
        with _quiet():
            database = audformat.Database.load(str(folder))
            rows = [row for table_id in database.tables for row in _rows(database, table_id)]
    except Exception as error:  # whatever a foreign library throws at a foreign file
        raise ManifestError(f"{str(folder)!r} is no audformat database that can be read: {error}") from error
    if not any(name in table.columns for table in database.tables.values() for name in _EMOTION_COLUMNS):
        raise ManifestError(
            f"{str(folder)!r} has no table with emotions; expected a column {', '.join(_EMOTION_COLUMNS)} in "
            f"one of {list(database.tables)}"
        )
    return assemble(rows, format="audformat", source=folder, base=root_of(folder), options=options)


def _rows(database: Any, table_id: str) -> Iterator[RawRow]:
    table = database.tables[table_id]
    if not any(name in table.columns for name in _EMOTION_COLUMNS):
        return
    frame = table.df.reset_index()
    people = _people(database, table)
    part = part_of(table_id.replace("-", ".").replace("_", ".").rsplit(".", 1)[-1])
    for n, row in enumerate(frame.to_dict("records"), 1):
        cells = {str(name): text for name, value in row.items() if (text := _text(value)) is not None}
        cells = {**people.get(cells.get("speaker", ""), {}), **cells}
        if cells.get("start") == "0 days 00:00:00":
            del cells["start"]
        if part and "id" not in cells:
            cells.setdefault("part", part)
        yield make_row(f"{table_id}, row {n}", cells)


def _text(value: Any) -> str | None:
    missing = value is None or value != value  # NaN and NaT are unequal to themselves
    try:
        return None if missing else str(value)
    except TypeError:  # pandas' NA does not even say whether it is equal
        return None


def _people(database: Any, table: Any) -> Mapping[str, dict[str, str]]:
    """What the scheme of the speakers says about each of them."""
    if "speaker" not in table.columns or not table.columns["speaker"].scheme_id:
        return {}
    labels = database.schemes[table.columns["speaker"].scheme_id].labels
    if not isinstance(labels, dict):
        return {}
    return {
        str(name): {k: str(v) for k, v in facts.items() if v is not None and k != "speaker"}
        for name, facts in labels.items()
        if isinstance(facts, dict)
    }


def _write(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    audformat = _library()
    import pandas as pd

    rows: dict[tuple[str, int, int | None], Utterance] = {}
    left_out: list[tuple[str, str]] = []
    for u in manifest:
        path = str(manifest.root / u.path) if absolute else u.path
        span = (path, _ns(u.start or 0.0), None if u.end is None else _ns(u.end))
        if span in rows:
            left_out.append((u.id, f"it is the same span of sound as {rows[span].id}"))
        else:
            rows[span] = u
    index = audformat.segmented_index(
        [path for path, _, _ in rows],
        [pd.Timedelta(start, unit="ns") for _, start, _ in rows],
        [pd.NaT if end is None else pd.Timedelta(end, unit="ns") for _, _, end in rows],
    )
    database = audformat.Database(
        "emovox", source="emovox", description="who said what, with which expression"
    )
    database.schemes["emotion"] = audformat.Scheme(labels=sorted({u.emotion for u in rows.values()}))
    table = database["emotion"] = audformat.Table(index)
    for name in _COLUMNS:
        kind = "int" if name == "age" else "str"
        if name != "emotion":
            database.schemes[name] = audformat.Scheme(kind)
    with _quiet():
        for name in _COLUMNS:
            values: list[Any] = [getattr(u, name) for u in rows.values()]
            if name == "extra":
                values = [json.dumps(dict(one), sort_keys=True) if one else None for one in values]
            table[name] = audformat.Column(scheme_id=name)
            table[name].set(values)
        ambiguous = any(getattr(u, name) in _EMPTY for u in rows.values() for name in FIELDS[:-1])
        with tempfile.TemporaryDirectory(dir=target) as folder:
            database.save(folder, storage_format="parquet" if ambiguous else "csv", header_only=False)
            for old in target.glob("db.emotion.*"):  # of another format, when a database is replaced
                old.unlink()
            # The header is moved last: a folder that has one is complete.
            for file in sorted(Path(folder).iterdir(), key=lambda p: p.suffix == ".yaml"):
                shutil.move(file, target / file.name)
    return left_out


def _ns(time_s: float) -> int:
    return round(time_s * 1e9)


AUDFORMAT = CorpusFormat(
    name="audformat",
    title="audformat database: db.yaml and its tables",
    holds=frozenset(FIELDS),
    read=_read,
    write=_write,
    target=lambda path: path / "db.yaml",
    extra="data",
)

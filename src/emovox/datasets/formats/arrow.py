"""Typed tables, by the extra ``data``: Parquet, and data sets that Hugging Face's library saved.

``parquet``: every field of an utterance in a column of its type; it holds everything. Any other Parquet table
with a column for the file (or the sound itself) and one for the emotion can be read too.

``datasets``: a folder made by ``save_to_disk``, with or without splits. Read only, and without that library:
its files are Arrow streams. Splits become ``extra["part"]``. Sound that is embedded in the table is written
to the folder ``ReadOptions.audio``; rows with such sound are left out when none is given.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from emovox._files import atomic_path
from emovox.datasets.formats.assembly import assemble
from emovox.datasets.formats.base import FIELDS, CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.formats.columns import make_row
from emovox.datasets.manifest import Manifest, root_of
from emovox.datasets.splits import part_of
from emovox.errors import ManifestError, MissingExtraError

__all__ = ["DATASETS", "PARQUET"]

_NUMBERS = {"start": "float64", "end": "float64", "age": "int16"}


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading or writing Parquet and Arrow", "data") from error
    return pyarrow


# --- Parquet ------------------------------------------------------------------------------------------


def _read_parquet(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    arrow = _pyarrow()
    try:
        table = arrow.parquet.ParquetFile(source)
        rows = list(_raw_rows(table.iter_batches(256), _meanings(table.schema_arrow), options, ""))
    except (OSError, arrow.ArrowException) as error:
        raise ManifestError(f"{str(source)!r} is no Parquet table: {error}") from error
    return assemble(rows, format="parquet", source=source, base=root_of(source), options=options)


def _write_parquet(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    arrow = _pyarrow()
    invalid = {u.id for u in manifest if any("\ud800" <= c <= "\udfff" for c in u.path)}
    fit = [u for u in manifest if u.id not in invalid]
    columns = {}
    for name in FIELDS:
        values: list[Any] = [getattr(u, name) for u in fit]
        if name == "path" and absolute:
            values = [str(manifest.root / u.path) for u in fit]
        if name == "extra":
            values = [json.dumps(dict(u.extra), sort_keys=True) if u.extra else None for u in fit]
        columns[name] = arrow.array(values, getattr(arrow, _NUMBERS.get(name, "string"))())
    with atomic_path(target) as partial:
        arrow.parquet.write_table(arrow.table(columns), partial)
    return [(key, "its path is not valid text") for key in sorted(invalid)]


def _meanings(schema: Any) -> Mapping[str, Sequence[str]]:
    """Column -> names of its classes, where the table's metadata for Hugging Face give them."""
    try:
        notes = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return _classes(notes["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def _classes(features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, Mapping) and isinstance(feature.get("names"), list)
    }


def _raw_rows(
    batches: Iterator[Any], meanings: Mapping[str, Sequence[str]], options: ReadOptions, part: str
) -> Iterator[RawRow]:
    n = 0
    for batch in batches:
        for row in batch.to_pylist():
            n += 1
            yield _raw_row(f"{part} row {n}".strip(), row, meanings, options, part)


def _raw_row(
    where: str, row: dict[str, Any], meanings: Mapping[str, Sequence[str]], options: ReadOptions, part: str
) -> RawRow:
    cells = dict(row)
    for name, value in row.items():
        names = meanings.get(name)
        if names is not None and isinstance(value, int) and 0 <= value < len(names):
            cells[name] = names[value]
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            if options.audio is None:
                why = "its sound is embedded in the table; name a folder that it may be written to"
                return RawRow(where, "", {}, trouble=why)
            cells[name] = str(_extract_sound(value, options.audio))
    if part and not any(column in cells for column in ("part", "split")):
        cells["part"] = part_of(part) or part
    return make_row(where, cells)


def _extract_sound(sound: Mapping[str, Any], folder: Path) -> Path:
    """Write the embedded sound to a file named by its hash: the same sound, the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = PurePosixPath(str(sound.get("path") or "")).suffix or ".wav"
    target = Path(os.path.abspath(folder)) / f"{hashlib.sha256(sound['bytes']).hexdigest()[:24]}{suffix}"  # noqa: PTH100
    if not target.exists():
        with atomic_path(target) as partial:
            partial.write_bytes(sound["bytes"])
    return target


# --- folders of Hugging Face's library ------------------------------------------------------------------


def _read_datasets(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    arrow = _pyarrow()
    rows: list[RawRow] = []
    for part, folder in _splits(source):
        meanings = _classes(_json(folder / "dataset_info.json").get("features") or {})
        for name in _json(folder / "state.json").get("_data_files") or []:
            try:
                with arrow.memory_map(str(folder / name["filename"])) as stream:
                    batches = arrow.ipc.open_stream(stream)
                    rows.extend(_raw_rows(iter(batches), meanings, options, part))
            except (OSError, KeyError, TypeError, arrow.ArrowException) as error:
                raise ManifestError(f"{str(folder)!r} is no whole data set: {error}; save it anew") from error
    return assemble(rows, format="datasets", source=source, base=root_of(source), options=options)


def _splits(source: Path) -> list[tuple[str, Path]]:
    if (source / "state.json").is_file():
        return [("", source)]
    names = _json(source / "dataset_dict.json").get("splits")
    if not isinstance(names, list):
        raise ManifestError(f"{str(source)!r} is no data set that save_to_disk wrote: it has no state.json")
    return [(str(name), source / str(name)) for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


PARQUET = CorpusFormat(
    name="parquet",
    title="Parquet, typed",
    holds=frozenset(FIELDS),
    read=_read_parquet,
    write=_write_parquet,
    extra="data",
)
DATASETS = CorpusFormat(
    name="datasets",
    title="a data set saved by Hugging Face's library (read only)",
    holds=frozenset(FIELDS),
    read=_read_datasets,
    extra="data",
)

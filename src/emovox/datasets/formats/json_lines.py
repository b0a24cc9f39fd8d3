"""JSON lines with one object per utterance: NeMo's and other manifests, EmoBox's, Hugging Face's audiofolder.

``jsonl``: any keys that `emovox.datasets.formats.columns` knows, such as ``audio_filepath``, ``offset``,
``duration`` and ``label``. Read only.

``emobox``: ``{"key", "dataset", "wav", "emo", ...}``. It holds the id, the path, the corpus and the emotion
of whole files; a span of a file is left out. ``label_map.json`` beside it gives the meaning of its labels.
When written, the sound's rate and length are added, where the file can be read.

``audiofolder``: a folder for Hugging Face ``datasets`` with ``metadata.jsonl`` (or ``.csv``), one for all or
one in each of ``train/`` and ``test/``; ``file_name`` starts from the folder of the metadata. It holds
everything, but the sound must be below the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emovox import audio
from emovox._files import open_atomic_text
from emovox.datasets.formats.assembly import assemble
from emovox.datasets.formats.base import FIELDS, CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.formats.columns import make_row
from emovox.datasets.formats.csv_tables import decode_table, read_csv_rows
from emovox.datasets.manifest import Manifest, root_of
from emovox.datasets.splits import part_of
from emovox.errors import AudioError, ManifestError

__all__ = ["AUDIOFOLDER", "EMOBOX_JSONL", "JSONL", "is_emobox"]


def _read_objects(source: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Each line's place and object, or the reason why it is none."""
    try:
        text = decode_table(source.read_bytes())
    except (OSError, ManifestError) as error:
        raise ManifestError(
            f"{str(source)!r} cannot be read: {error}; expected the table of a corpus"
        ) from error
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                found = f"it is no JSON: {error}"
            yield f"line {n}", found if isinstance(found, dict | str) else "it is no JSON object"


def _raw_rows(source: Path) -> Iterator[RawRow]:
    for where, row in _read_objects(source):
        yield RawRow(where, "", {}, trouble=row) if isinstance(row, str) else make_row(where, row)


def _read_jsonl(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    rows = list(_raw_rows(source))
    if rows and not any(row.path for row in rows):
        raise ManifestError(
            f"{str(source)!r}: no line names a file; expected a key such as audio_filepath or path"
        )
    return assemble(rows, format="jsonl", source=source, base=root_of(source), options=options)


# ----------------------------------------------------------------------------------------- EmoBox


def is_emobox(source: Path) -> bool:
    """Whether the first object of a file has EmoBox's keys."""
    try:
        first = next((row for _, row in _read_objects(source) if isinstance(row, dict)), {})
    except ManifestError:
        return True  # its reader says what is wrong
    return "emo" in first or "wav" in first or not first


def _read_emobox(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    meanings = _read_label_map(source.with_name("label_map.json"))
    rows = []
    for where, row in _read_objects(source):
        if isinstance(row, str):
            rows.append(RawRow(where, "", {}, trouble=row))
            continue
        label, key, corpus = (str(row.get(name) or "") for name in ("emo", "key", "dataset"))
        cells = {"emotion": meanings.get(label, label), "original": label, "corpus": corpus}
        if corpus and key.startswith(f"{corpus}/"):
            cells["id"] = key
        path = row.get("wav")
        rows.append(RawRow(where, path if isinstance(path, str) else "", cells))
    if rows and not any(row.path for row in rows):
        raise ManifestError(f'{str(source)!r} cannot be read: no line has a "wav"')
    return assemble(rows, format="emobox", source=source, base=root_of(source), options=options)


def _read_label_map(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _write_emobox(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    beside = target.with_name("label_map.json")
    there, own = _read_label_map(beside), {name: name.title() for name in manifest.emotions}
    if beside.exists() and (not there or any(there.get(name, mine) != mine for name, mine in own.items())):
        raise ManifestError(
            f"{str(beside)!r} gives the labels other meanings and would have to be replaced; "
            "name another folder"
        )
    with open_atomic_text(target) as stream:
        for u in manifest:
            if u.is_span:
                continue
            row: dict[str, Any] = {
                "key": u.id,
                "dataset": u.corpus,
                "wav": str(manifest.root / u.path) if absolute else u.path,
                "type": "raw",
                "task": "category",
                "emo": u.emotion,
                **_sound_facts(manifest.file(u)),
            }
            stream.write(json.dumps(row) + "\n")
    with open_atomic_text(beside) as stream:
        stream.write(json.dumps({**there, **own}, indent=4) + "\n")
    return [(u.id, "it is a span of its file") for u in manifest if u.is_span]


def _sound_facts(path: Path) -> dict[str, float]:
    try:
        info = audio.probe(path)
        duration_s = info.duration_s
        if duration_s is None:  # the header does not say, as of a FLAC from a pipe
            duration_s = sum(block.shape[1] for block in audio.blocks(path)) / audio.SAMPLE_RATE
    except (AudioError, OSError, ImportError, ValueError):
        return {}
    return {
        "sample_rate": info.sample_rate,
        "num_frame": round(duration_s * info.sample_rate),
        "length": duration_s,
        "channel": info.n_channels,
    }


# ------------------------------------------------------------------------------------ audiofolder


def _read_audiofolder(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    folder = source if source.is_dir() else source.parent
    names = ("metadata.jsonl", "metadata.csv")
    tables = (
        [source] if source.is_file() else [folder / name for name in names if (folder / name).is_file()][:1]
    )
    tables = tables or [path for name in names for path in sorted(folder.glob(f"*/{name}")) if path.is_file()]
    if not tables:
        raise ManifestError(
            f"{str(source)!r} has no metadata.jsonl and no metadata.csv; expected one, in it or in its parts"
        )
    rows: list[RawRow] = []
    for table in tables:
        inner = table.parent.relative_to(folder).as_posix()
        found = (
            read_csv_rows(table, need_emotion=not options.unlabelled)
            if table.suffix.lower() == ".csv"
            else _raw_rows(table)
        )
        rows.extend(_move_row(row, inner) for row in found)
    return assemble(rows, format="audiofolder", source=folder, base=folder, options=options)


def _move_row(row: RawRow, inner: str) -> RawRow:
    """The same row seen from the outer folder, with its part if its folder or path gives one."""
    path = row.path if inner == "." or not row.path else f"{inner}/{row.path}"
    part = None if row.whole else part_of(path.split("/")[0])
    cells: Mapping[str, str] = {"part": part, **row.cells} if part else row.cells
    return replace(row, where=row.where if inner == "." else f"{inner}, {row.where}", path=path, cells=cells)


def _write_audiofolder(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    if absolute or manifest.root != Path(os.path.abspath(target)):  # noqa: PTH100
        raise ManifestError(
            f"the sound is in {str(manifest.root)!r}, but an audiofolder holds its sound: "
            "write to that folder, or convert the sound first"
        )
    with open_atomic_text(target / "metadata.jsonl") as stream:
        for u in manifest:
            row = {name: getattr(u, name) for name in FIELDS if name not in ("path", "extra")}
            row["extra"] = json.dumps(dict(u.extra), sort_keys=True) if u.extra else None
            stream.write(json.dumps({"file_name": u.path, **row}) + "\n")
    return ()


JSONL = CorpusFormat(
    name="jsonl",
    title="JSON lines such as NeMo's manifests (read only)",
    holds=frozenset(FIELDS),
    read=_read_jsonl,
)
EMOBOX_JSONL = CorpusFormat(
    name="emobox",
    title="EmoBox's JSON lines",
    holds=frozenset({"id", "path", "corpus", "emotion"}),
    read=_read_emobox,
    write=_write_emobox,
)
AUDIOFOLDER = CorpusFormat(
    name="audiofolder",
    title="Hugging Face audiofolder with metadata.jsonl or .csv",
    holds=frozenset(FIELDS),
    read=_read_audiofolder,
    write=_write_audiofolder,
    target=lambda path: path / "metadata.jsonl",
)

"""Tables with one line an utterance: CSV of any dialect, nkululeko's, JSON lines of EmoBox and audiofolder.

``csv``: any table with a column for the file and one for the emotion, under one of their usual names and with
any usual delimiter, or two columns ``path,emotion`` without a header. Columns nobody knows go to ``extra``.
As written by emovox it has ``path,emotion`` and nothing else.

``nkululeko``: ``file,speaker,gender,emotion``, then ``age``, ``language``, and ``start,end`` as pandas writes
times, each where an utterance has one. It does not hold the id, the corpus, the original label, the text, the
intensity and the extras; times are held to the nanosecond, and a start of 0 is the same as none.

``emobox``: ``{"key", "dataset", "wav", "emo", ...}``. It holds the id, the path, the corpus and the emotion
of whole files; a stretch of a file is left out. ``label_map.json`` beside it says what its labels mean.
When written, the sound's rate and length join, where the file can be read.

``audiofolder``: a folder for Hugging Face ``datasets`` with ``metadata.jsonl`` (or ``.csv``), one for all or
one in each of ``train/`` and ``test/``; ``file_name`` starts from where the metadata lies. It holds
everything, but the sound must lie below the folder.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emovox import audio
from emovox._files import replaced_text
from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets.formats.assembly import assemble, part_of
from emovox.datasets.formats.base import FIELDS, Draft, Format, ImportReport, Reading
from emovox.datasets.manifest import Manifest, Utterance, root_of
from emovox.errors import AudioError, ManifestError

__all__ = ["AUDIOFOLDER", "CSV", "EMOBOX_JSONL", "NKULULEKO", "column_of", "row_of"]

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("wav", "wav_path", "audio", "audio_path", "audio_file", "audio_filename"),
    ),
    "emotion": ("emotion", "label", "emo", "emotion_label", "class", "class_label", "category", "labels"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "actor", "actor_id"),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "language": ("language", "lang", "locale"),
    "text": ("text", "text_id", "sentence", "transcript", "transcription", "statement"),
    "intensity": ("intensity", "emotional_intensity"),
    "start": ("start", "start_s", "begin", "onset"),
    "end": ("end", "end_s", "stop", "offset"),
    "corpus": ("corpus", "dataset", "database"),
    "part": ("part", "split", "set", "subset", "partition", "split_set"),
}
_WHOLE = frozenset({"id", "corpus", "speaker", "emotion", "original"})
"""Columns by which a table is known to be one of ours."""


def row_of(where: str, cells: Mapping[str, Any]) -> Draft:
    """A draft out of a row with any usual names for its columns."""
    texts = {name: _text(value) for name, value in cells.items() if value is not None}
    if texts.keys() >= _WHOLE:
        path = next((texts[name] for name in _ALIASES["path"] if name in texts), "")
        return Draft(where, path, {n: v for n, v in texts.items() if n in FIELDS}, _extra(texts), whole=True)
    lower = _lower(texts)
    found = {name: _column(lower, name) for name in _ALIASES}
    named = {name: texts[column] for name, column in found.items() if column is not None}
    rest = {name: " ".join(text.split()) for name, text in texts.items() if name not in found.values()}
    return Draft(where, named.pop("path", ""), named, rest)


def column_of(names: Iterable[str], field: str) -> str | None:
    """Which of a table's columns says a field of an utterance, by its usual names; ``None``: none of them."""
    return _column(_lower(names), field)


def _lower(names: Iterable[str]) -> dict[str, str]:
    lower: dict[str, str] = {}
    for name in names:
        lower.setdefault(name.strip().lower().replace(" ", "_"), name)
    return lower


def _column(lower: Mapping[str, str], field: str) -> str | None:
    return next((lower[alias] for alias in _ALIASES[field] if alias in lower), None)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):  # Hugging Face's form of a sound
        return str(value["path"]) if value.get("path") else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def _extra(texts: Mapping[str, str]) -> dict[str, str]:
    """Our own ``extra``, which stands in its cell as JSON."""
    try:
        extra = json.loads(texts.get("extra") or "{}")
    except (ValueError, RecursionError):
        extra = {"extra": texts["extra"]}
    return (
        {str(k): str(v) for k, v in extra.items()} if isinstance(extra, dict) else {"extra": texts["extra"]}
    )


def _wrong(source: Path, error: object) -> ManifestError:
    return ManifestError(f"{str(source)!r} cannot be read: {error}; expected the table of a corpus")


# --- CSV --------------------------------------------------------------------------------------------


def _read_csv(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    return assemble(_csv_rows(source), format="csv", source=source, base=root_of(source), options=options)


def _read_nkululeko(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    return assemble(
        _csv_rows(source), format="nkululeko", source=source, base=root_of(source), options=options
    )


def _csv_rows(source: Path) -> list[Draft]:
    try:
        with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            lines = list(csv.reader(stream, delimiter=_delimiter(first)))
    except (OSError, csv.Error, UnicodeError) as error:
        raise _wrong(source, error) from error
    header = [name.strip() for name in lines[0]] if lines else []
    if row_of("", dict.fromkeys(header, "x")).path:
        body = list(enumerate(lines[1:], 2))
    elif len(header) >= 2 and os.path.splitext(header[0])[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122
        header, body = ["path", "emotion", "speaker"], list(enumerate(lines, 1))
    else:
        raise ManifestError(
            f"{str(source)!r} has no column for the file among {header[:12]}; expected one named "
            f"{', '.join(_ALIASES['path'][:6])}, and one named {', '.join(_ALIASES['emotion'][:3])}"
        )
    return [row_of(f"line {n}", dict(zip(header, cells, strict=False))) for n, cells in body if any(cells)]


def _delimiter(first: str) -> str:
    return max(",;\t|", key=first.count)


def _write_csv(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    left_out = [(u.id, "it is a stretch of its file") for u in manifest if _is_stretch(u)]
    rows = [u for u in manifest if not _is_stretch(u)]
    _write_rows(target, manifest, rows, {"path": None, "emotion": lambda u: u.emotion}, absolute)
    return left_out


def _write_nkululeko(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    columns: dict[str, Callable[[Utterance], str] | None] = {
        "file": None,
        "speaker": lambda u: u.speaker,
        "gender": lambda u: u.sex or "",
        "emotion": lambda u: u.emotion,
    }
    if any(u.age is not None for u in manifest):
        columns["age"] = lambda u: "" if u.age is None else str(u.age)
    if any(u.language for u in manifest):
        columns["language"] = lambda u: u.language or ""
    if any(_is_stretch(u) for u in manifest):
        columns["start"] = lambda u: _as_timedelta(u.start or 0.0)
        columns["end"] = lambda u: "" if u.end is None else _as_timedelta(u.end)
    _write_rows(target, manifest, manifest.utterances, columns, absolute)
    return ()


def _write_rows(
    target: Path,
    manifest: Manifest,
    rows: Iterable[Utterance],
    columns: Mapping[str, Callable[[Utterance], str] | None],
    absolute: bool,
) -> None:
    """One line an utterance; a column without a function is the path."""
    with replaced_text(target) as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        for u in rows:
            path = str(manifest.file(u)) if absolute else u.path
            table.writerow([path if make is None else make(u) for make in columns.values()])


def _is_stretch(u: Utterance) -> bool:
    return bool(u.start) or u.end is not None


def _as_timedelta(time_s: float) -> str:
    """As pandas writes a time: ``0 days 00:00:01.250000000``."""
    total_ns = round(time_s * 1e9)
    whole_s, rest_ns = divmod(total_ns, 10**9)
    days, rest_s = divmod(whole_s, 86_400)
    return f"{days} days {rest_s // 3600:02}:{rest_s // 60 % 60:02}:{rest_s % 60:02}.{rest_ns:09}"


# --- JSON lines ---------------------------------------------------------------------------------------


def _json_rows(source: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Each line's place and object, or the reason why it is none."""
    try:
        with source.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            for n, line in enumerate(stream, 1):
                if line.strip():
                    yield f"line {n}", _object(line)
    except OSError as error:
        raise _wrong(source, error) from error


def _object(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    return found if isinstance(found, dict) else "it is no JSON object"


def _read_emobox(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    meanings = _label_map(source.with_name("label_map.json"))
    drafts = [_emobox_row(where, row, meanings) for where, row in _json_rows(source)]
    if drafts and not any(draft.path for draft in drafts):
        raise _wrong(source, 'no line has a "wav"')
    return assemble(drafts, format="emobox", source=source, base=root_of(source), options=options)


def _label_map(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _emobox_row(where: str, row: dict[str, Any] | str, meanings: Mapping[str, str]) -> Draft:
    if isinstance(row, str):
        return Draft(where, "", {}, trouble=row)
    label, key, corpus = (str(row.get(name) or "") for name in ("emo", "key", "dataset"))
    cells = {"emotion": meanings.get(label, label), "original": label, "corpus": corpus}
    if corpus and key.startswith(f"{corpus}/"):
        cells["id"] = key
    path = row.get("wav")
    return Draft(where, path if isinstance(path, str) else "", cells)


def _write_emobox(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    left_out: list[tuple[str, str]] = []
    rows = []
    for u in manifest:
        if _is_stretch(u):
            left_out.append((u.id, "it is a stretch of its file"))
            continue
        rows.append(
            {
                "key": u.id,
                "dataset": u.corpus,
                "wav": str(manifest.file(u)) if absolute else u.path,
                "type": "raw",
                "task": "category",
                "emo": u.emotion,
                **_sound_facts(manifest.file(u)),
            }
        )
    there = target.with_name("label_map.json")
    known, own = _label_map(there), {name: name.title() for name in manifest.emotions}
    if there.exists() and (not known or any(known.get(name, mine) != mine for name, mine in own.items())):
        raise ManifestError(
            f"{str(there)!r} gives the labels other meanings and would have to be replaced; "
            "name another folder"
        )
    with replaced_text(target) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with replaced_text(there) as stream:
        stream.write(json.dumps({**known, **own}, indent=4) + "\n")
    return left_out


def _sound_facts(path: Path) -> dict[str, float]:
    try:
        info = audio.probe(path)
    except (AudioError, OSError, ImportError, ValueError):
        return {}
    if info.duration_s is None:
        return {}
    return {
        "sample_rate": info.sample_rate,
        "num_frame": round(info.duration_s * info.sample_rate),
        "length": info.duration_s,
        "channel": info.n_channels,
    }


# --- audiofolder --------------------------------------------------------------------------------------


def _read_audiofolder(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    folder = source if source.is_dir() else source.parent
    tables = [source] if source.is_file() else _metadata(folder)
    if not tables:
        raise ManifestError(
            f"{str(source)!r} has no metadata.jsonl and no metadata.csv; expected one, in it or in its parts"
        )
    drafts: list[Draft] = []
    for table in tables:
        inner = table.parent.relative_to(folder).as_posix()
        drafts.extend(_in_folder(draft, inner) for draft in _metadata_rows(table))
    return assemble(drafts, format="audiofolder", source=folder, base=folder, options=options)


def _metadata(folder: Path) -> list[Path]:
    names = ("metadata.jsonl", "metadata.csv")
    here = [folder / name for name in names if (folder / name).is_file()]
    below = [table for name in names for table in sorted(folder.glob(f"*/{name}")) if table.is_file()]
    return here[:1] or below


def _metadata_rows(table: Path) -> Iterator[Draft]:
    if table.suffix.lower() == ".csv":
        yield from _csv_rows(table)
        return
    for where, row in _json_rows(table):
        yield Draft(where, "", {}, trouble=row) if isinstance(row, str) else row_of(where, row)


def _in_folder(draft: Draft, inner: str) -> Draft:
    """The same row seen from the outer folder, and its part if that is what its folder or path says."""
    path = draft.path if inner == "." or not draft.path else f"{inner}/{draft.path}"
    part = None if draft.whole else part_of(path.split("/")[0])
    cells = {"part": part, **draft.cells} if part else draft.cells
    where = draft.where if inner == "." else f"{inner}, {draft.where}"
    return replace(draft, where=where, path=path, cells=cells)


def _write_audiofolder(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    if absolute or manifest.root != Path(os.path.abspath(target)):  # noqa: PTH100
        raise ManifestError(
            f"the sound lies in {str(manifest.root)!r}, but an audiofolder holds its sound: "
            "write to that folder, or convert the sound first"
        )
    with replaced_text(target / "metadata.jsonl") as stream:
        for u in manifest:
            row = {name: getattr(u, name) for name in FIELDS if name not in ("path", "extra")}
            row["extra"] = json.dumps(dict(u.extra), sort_keys=True) if u.extra else None
            stream.write(json.dumps({"file_name": u.path, **row}) + "\n")
    return ()


CSV = Format(
    name="csv",
    title="any table with a file and an emotion a row",
    holds=frozenset({"path", "emotion"}),
    read=_read_csv,
    write=_write_csv,
)
NKULULEKO = Format(
    name="nkululeko",
    title="nkululeko's CSV: file,speaker,gender,emotion",
    holds=frozenset({"path", "speaker", "sex", "emotion", "age", "language", "start", "end"}),
    read=_read_nkululeko,
    write=_write_nkululeko,
)
EMOBOX_JSONL = Format(
    name="emobox",
    title="EmoBox's JSON lines",
    holds=frozenset({"id", "path", "corpus", "emotion"}),
    read=_read_emobox,
    write=_write_emobox,
)
AUDIOFOLDER = Format(
    name="audiofolder",
    title="Hugging Face audiofolder with metadata.jsonl or .csv",
    holds=frozenset(FIELDS),
    read=_read_audiofolder,
    write=_write_audiofolder,
    target=lambda path: path / "metadata.jsonl",
)

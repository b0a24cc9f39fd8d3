"""Kaldi's data folder: ``wav.scp``, ``utt2emo``, ``utt2spk``, ``spk2gender``, ``utt2lang``, ``segments``.

It holds id, path, times, speaker, emotion, sex (female or male, one for each speaker) and language; not the
corpus, the original label, age, text, intensity and extras. Rows are sorted by id, byte by byte, as Kaldi
wants them. White space, of which an id there may have none, is written ``%20`` in ids, speakers and
languages. A path with a line break or with white space at an end cannot be written: its row is left out.

A ``wav.scp`` whose entries are commands (``... |``) is not run: such rows are kept out and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from emovox._files import open_atomic_text
from emovox.datasets.formats.assembly import assemble
from emovox.datasets.formats.base import CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.manifest import Manifest, root_of
from emovox.errors import ManifestError

__all__ = ["KALDI"]

_SEX = {"female": "f", "male": "m"}


def _read(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    if not (source / "wav.scp").is_file():
        raise ManifestError(f"{str(source)!r} has no wav.scp; expected a data folder of Kaldi's")
    recordings = dict(_pairs(source / "wav.scp"))
    emotions = dict(_pairs(source / "utt2emo"))
    speakers = dict(_pairs(source / "utt2spk"))
    sexes = dict(_pairs(source / "spk2gender"))
    languages = dict(_pairs(source / "utt2lang"))
    segments = dict(_pairs(source / "segments"))
    if not (source / "utt2emo").is_file():
        raise ManifestError(f"{str(source)!r} has no utt2emo; expected the emotion of each utterance there")
    rows = []
    for utterance in {**(segments or recordings), **emotions}:
        recording, *times = segments[utterance].split() if utterance in segments else [utterance]
        speaker = speakers.get(utterance, "")
        rows.append(
            _raw_row(
                utterance,
                recordings.get(recording, ""),
                {
                    "emotion": emotions.get(utterance, ""),
                    "speaker": unquote(speaker, errors="surrogateescape"),
                    "sex": sexes.get(speaker, ""),
                    "language": unquote(languages.get(utterance, ""), errors="surrogateescape"),
                    **dict(zip(("start", "end"), times, strict=False)),
                },
            )
        )
    return assemble(rows, format="kaldi", source=source, base=root_of(source), options=options)


def _raw_row(utterance: str, path: str, cells: Mapping[str, str]) -> RawRow:
    name = unquote(utterance, errors="surrogateescape")
    corpus, slash, key = name.partition("/")
    if slash and corpus and key:  # as emovox names utterances
        cells = {**cells, "id": name, "corpus": corpus}
    if cells.get("end", "").startswith("-"):  # -1 means the file's end
        cells = {**cells, "end": ""}
    command = "its sound is made by a command, which is not run" if path.endswith("|") else None
    return RawRow(f"utterance {name}", path, cells, trouble=command)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """``key rest of the line``; a file that is not there has none."""
    if not path.is_file():
        return
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise ManifestError(f"{str(path)!r} cannot be read: {error}; expected a table of Kaldi's") from error
    for line in lines:
        key, _, rest = line.strip(" \t\r").partition(" ")
        if "\t" in key:
            key, _, rest = line.strip(" \t\r").partition("\t")
        if key:
            yield key, rest.strip(" \t")


def _write(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    left_out = [
        (u.id, "its path has a line break, or white space at an end, or ends like a command")
        for u in manifest
        if _unfit(u.path)
    ]
    rows = sorted(
        (u for u in manifest if not _unfit(u.path)),
        key=lambda u: _id(u.id).encode("utf-8", "surrogateescape"),
    )
    has_spans = any(u.is_span for u in rows)
    paths = {u.path: str(manifest.root / u.path) if absolute else u.path for u in rows}
    names = {path: f"rec{n:07}" for n, path in enumerate(sorted(paths), 1)}
    if has_spans:
        recordings = {names[path]: paths[path] for path in sorted(paths)}
        spans = {u.id: f"{u.start or 0.0!r} {-1 if u.end is None else repr(float(u.end))}" for u in rows}
        _table(target / "segments", ((_id(u.id), f"{names[u.path]} {spans[u.id]}") for u in rows))
    else:
        recordings = {_id(u.id): paths[u.path] for u in rows}
        (target / "segments").unlink(missing_ok=True)
    sexes = {_id(u.speaker): _SEX[u.sex] for u in rows if u.sex in _SEX}
    _table(target / "utt2emo", ((_id(u.id), u.emotion) for u in rows))
    _table(target / "utt2spk", ((_id(u.id), _id(u.speaker)) for u in rows))
    _table(target / "utt2lang", ((_id(u.id), _id(u.language)) for u in rows if u.language))
    _table(target / "spk2gender", sorted(sexes.items()))
    _table(target / "wav.scp", recordings.items())
    return left_out


def _unfit(path: str) -> bool:
    return path != path.strip() or "\n" in path or "\r" in path or path.endswith("|")


def _id(text: str) -> str:
    """``text`` without white space: what would break a line or a column is written as ``%`` and its code."""
    return re.sub(
        r"[\s%\0-\x1f]",
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")),
        text,
    )


def _table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with open_atomic_text(path) as stream:
        stream.writelines(f"{key} {value}\n" for key, value in rows)


KALDI = CorpusFormat(
    name="kaldi",
    title="Kaldi's data folder: wav.scp, utt2emo, utt2spk",
    holds=frozenset({"id", "path", "start", "end", "speaker", "emotion", "sex", "language"}),
    read=_read,
    write=_write,
    target=lambda path: path / "wav.scp",
)

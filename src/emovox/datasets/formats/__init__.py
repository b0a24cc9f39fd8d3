"""Formats of labelled clips in other tools, read and written.

``read`` gives a manifest and a report of every row that is not in it; ``write`` reports what the format could
not hold. A manifest that is written and read again is the same in every field that ``CorpusFormat.holds``
names.

``emovox`` is our own CSV (``Manifest.write_csv``), which holds everything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from emovox.datasets.formats.arrow import DATASETS, PARQUET
from emovox.datasets.formats.audb import AUDFORMAT
from emovox.datasets.formats.base import (
    FIELDS,
    CorpusFormat,
    ExportReport,
    ImportReport,
    ReadOptions,
    place_manifest,
)
from emovox.datasets.formats.csv_tables import CSV, NKULULEKO, decode_table, split_table
from emovox.datasets.formats.json_lines import AUDIOFOLDER, EMOBOX_JSONL, JSONL, is_emobox
from emovox.datasets.formats.kaldi import KALDI
from emovox.datasets.formats.trees import FOLDER, SUFFIX, count_known
from emovox.datasets.manifest import REQUIRED_COLUMNS, Manifest, Utterance, root_of
from emovox.errors import ManifestError, did_you_mean
from emovox.labels import is_known

__all__ = [
    "FORMATS",
    "CorpusFormat",
    "ExportReport",
    "ImportReport",
    "ReadOptions",
    "guess",
    "is_table_folder",
    "read",
    "write",
]


def _read_own(source: Path, options: ReadOptions) -> tuple[Manifest, ImportReport]:
    manifest = Manifest.read_csv(source, root=options.root or root_of(source))
    absent = tuple(u.path for u in manifest if not os.path.exists(manifest.file(u)))  # noqa: PTH110
    own = Counter(u.emotion for u in manifest if not is_known(u.emotion))
    n = len(manifest)
    # A plain dict: `dataclasses.asdict` makes pairs of the keys of a Counter.
    return manifest, ImportReport("emovox", str(source), n, n, absent=absent, own_labels=dict(own))


def _write_own(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    if absolute:
        raise ManifestError("our own manifests hold paths from their root; expected absolute=False")
    manifest.write_csv(target)
    return ()


_OWN = CorpusFormat(
    name="emovox", title="our own CSV", holds=frozenset(FIELDS), read=_read_own, write=_write_own
)

FORMATS: dict[str, CorpusFormat] = {
    one.name: one
    for one in (
        *(_OWN, PARQUET, CSV, NKULULEKO, AUDFORMAT, EMOBOX_JSONL, JSONL, AUDIOFOLDER, DATASETS, KALDI),
        *(FOLDER, SUFFIX),
    )
}
"""Every format, by name."""


def read(
    source: str | Path, *, format: str | None = None, options: ReadOptions | None = None
) -> tuple[Manifest, ImportReport]:
    """Read a foreign table or tree.

    Args:
        format: a name in ``FORMATS``; guessed from the content unless given.

    Raises:
        ManifestError: there is no such file, it is not of that format, or the format is unknown.
        MissingExtraError: the format requires an extra that is not installed.
    """
    path = Path(source)
    if not os.path.exists(path):  # noqa: PTH110 - False for an impossible name, too
        raise ManifestError(f"there is no {str(source)!r}; expected a table or a folder of a corpus")
    return _find_format(format or guess(path)).read(path, options or ReadOptions())


def write(
    manifest: Manifest, target: str | Path, *, format: str, absolute: bool = False, force: bool = False
) -> ExportReport:
    """Write a manifest in a foreign format.

    Paths start from the folder of ``target``, if that is above the sound; else from the manifest's root,
    which is then written to a companion file ``<target>.root``; with ``absolute`` they are whole.

    Raises:
        ManifestError: there is something already and it may not be replaced, or the format is read only.
        MissingExtraError: the format requires an extra that is not installed.
    """
    form = _find_format(format)
    path = Path(target)
    if form.write is None:
        writable = ", ".join(name for name, one in FORMATS.items() if one.write is not None)
        raise ManifestError(f"{format!r} can only be read; to write, there are {writable}")
    if form.target(path).exists() and not force:
        raise ManifestError(f"{str(form.target(path))!r} exists; name another place, or ask to replace it")
    new = [one for one in (path, path.with_name(f"{path.name}.root")) if not one.exists()]
    is_folder = form.is_tree or form.target(Path("x")) != Path("x")
    (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
    try:
        left_out = form.write(manifest if form.is_tree else place_manifest(manifest, path), path, absolute)
    except ManifestError:
        for one in new:  # an empty folder, the companion file
            if one.is_file():
                one.unlink()
            elif one.is_dir() and not any(one.iterdir()):
                one.rmdir()
        raise
    gone = {key for key, _ in left_out}
    rows = [u for u in manifest if u.id not in gone]
    lost = {name: n for name in FIELDS if name not in form.holds and (n := _count_lost(rows, name))}
    return ExportReport(form.name, path, len(rows), lost, tuple(left_out))


def guess(source: str | Path) -> str:
    """The name of the format that ``source`` looks like.

    Raises:
        ManifestError: it looks like none.
    """
    path = Path(source)
    if path.is_dir():
        return _guess_folder(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".json"):
        return "audiofolder" if path.name == "metadata.jsonl" else "emobox" if is_emobox(path) else "jsonl"
    if suffix in (".parquet", ".yaml"):
        return {".parquet": "parquet", ".yaml": "audformat"}[suffix]
    if suffix not in (".csv", ".tsv", ".tab", ".txt"):
        raise ManifestError(f"the format of {str(source)!r} is unknown; say which of {', '.join(FORMATS)}")
    try:
        with path.open("rb") as stream:
            header = set(split_table(decode_table(stream.read(65_536)))[0])
    except OSError as error:
        raise ManifestError(f"{str(source)!r} cannot be read: {error}") from error
    except ManifestError:
        return "csv"  # its reader says what is wrong
    if header >= set(REQUIRED_COLUMNS):
        return "emovox"
    return "nkululeko" if header >= {"file", "speaker", "gender", "emotion"} else "csv"


_TABLES = {
    "wav.scp": "kaldi",
    "db.yaml": "audformat",
    "state.json": "datasets",
    "dataset_dict.json": "datasets",
    "metadata.jsonl": "audiofolder",
    "metadata.csv": "audiofolder",
}
"""File in a folder -> the format that it belongs to."""


def is_table_folder(folder: Path) -> bool:
    """Whether a folder holds the table of a format."""
    return any((folder / name).is_file() for name in _TABLES)


def _guess_folder(folder: Path) -> str:
    for file, name in _TABLES.items():
        if (folder / file).is_file():
            return name
    if next(folder.glob("*/metadata.*"), None) is not None:
        return "audiofolder"
    counts = count_known(folder)
    best = max(counts, key=counts.__getitem__)
    if not counts[best]:
        raise ManifestError(
            f"nothing in {str(folder)!r} says what is expressed: no folder is named by a known emotion, no "
            "file name ends with one; if the folders are the labels, write a manifest first:  emovox data "
            f"prepare folder --root {folder} -o manifest.csv"
        )
    return best


def _find_format(name: str) -> CorpusFormat:
    if name in FORMATS:
        return FORMATS[name]
    raise ManifestError(f"unknown format {name!r}; {did_you_mean(name, FORMATS)}")


def _count_lost(rows: Sequence[Utterance], name: str) -> int:
    """How many rows have a value; an original label that is the same as the emotion counts as none."""
    if name == "original":
        return sum(u.original != u.emotion for u in rows)
    return sum(bool(getattr(u, name)) for u in rows)

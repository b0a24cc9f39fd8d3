"""The formats in which others write down who said what, with which expression; read and written.

``read`` gives a manifest and a report of every row that is not in it; ``write`` says what the format could
not hold. A manifest that is written and read again is the same in every field that ``Format.holds`` names.

``emovox`` is our own CSV (``Manifest.write_csv``), which holds everything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from emovox.datasets.formats.arrow import DATASETS, PARQUET
from emovox.datasets.formats.audb import AUDFORMAT
from emovox.datasets.formats.base import FIELDS, Format, ImportReport, Reading, Written, placed
from emovox.datasets.formats.kaldi import KALDI
from emovox.datasets.formats.tables import AUDIOFOLDER, CSV, EMOBOX_JSONL, NKULULEKO
from emovox.datasets.formats.trees import FOLDER, SUFFIX
from emovox.datasets.manifest import Manifest, Utterance, root_of
from emovox.errors import ManifestError, did_you_mean

__all__ = ["FORMATS", "Format", "ImportReport", "Reading", "Written", "guess", "read", "write"]


def _read_own(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    manifest = Manifest.read_csv(source, root=options.root or root_of(source))
    absent = tuple(u.path for u in manifest if not os.path.exists(manifest.file(u)))  # noqa: PTH110
    n = len(manifest)
    return manifest, ImportReport("emovox", str(source), n, n, absent=absent)


def _write_own(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    if absolute:
        raise ManifestError("a manifest of ours holds paths from its root; expected absolute=False")
    manifest.write_csv(target)
    return ()


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format(name="emovox", title="our own CSV", holds=frozenset(FIELDS), read=_read_own, write=_write_own),
        PARQUET,
        CSV,
        NKULULEKO,
        AUDFORMAT,
        EMOBOX_JSONL,
        AUDIOFOLDER,
        DATASETS,
        KALDI,
        FOLDER,
        SUFFIX,
    )
}
"""Every format, by name."""


def read(
    source: str | Path, *, format: str | None = None, options: Reading | None = None
) -> tuple[Manifest, ImportReport]:
    """Read a foreign table or tree.

    Args:
        format: a name in ``FORMATS``; guessed from the content unless given.

    Raises:
        ManifestError: there is no such file, it is not of that format, or nobody knows the format.
        MissingExtraError: the format needs an extra that is not installed.
    """
    path = Path(source)
    if not os.path.exists(path):  # noqa: PTH110 - an impossible name is not there either
        raise ManifestError(f"there is no {str(source)!r}; expected a table or a folder of a corpus")
    return _format(format or guess(path)).read(path, options or Reading())


def write(
    manifest: Manifest, target: str | Path, *, format: str, absolute: bool = False, force: bool = False
) -> Written:
    """Write a manifest in a foreign format.

    Paths start from where ``target`` lies, if that is above the sound; else from the manifest's root, which
    then stands in a companion file ``<target>.root``; with ``absolute`` they are whole.

    Raises:
        ManifestError: something is there already and may not be replaced, or the format cannot be written.
        MissingExtraError: the format needs an extra that is not installed.
    """
    form = _format(format)
    path = Path(target)
    if form.write is None:
        raise ManifestError(f"{format!r} can only be read; to write, there are {', '.join(_writable())}")
    if form.target(path).exists() and not force:
        raise ManifestError(f"{str(form.target(path))!r} exists; name another place, or ask to replace it")
    new = [one for one in (path, path.with_name(f"{path.name}.root")) if not one.exists()]
    if _is_folder(form):
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    tree = form in (FOLDER, SUFFIX)
    try:
        left_out = form.write(manifest if tree else placed(manifest, path), path, absolute)
    except ManifestError:
        _sweep(new)
        raise
    gone = {key for key, _ in left_out}
    rows = [u for u in manifest if u.id not in gone]
    lost = {name: n for name in FIELDS if name not in form.holds and (n := _n_lost(rows, name))}
    return Written(form.name, path, len(rows), lost, tuple(left_out))


def _sweep(new: Sequence[Path]) -> None:
    """Take back what a refused writing has made: an empty folder, the companion file."""
    for one in new:
        if one.is_file():
            one.unlink()
        elif one.is_dir() and not any(one.iterdir()):
            one.rmdir()


def guess(source: str | Path) -> str:
    """The name of the format that ``source`` looks like.

    Raises:
        ManifestError: like none.
    """
    path = Path(source)
    if path.is_dir():
        return _guess_folder(path)
    by_suffix = {".parquet": "parquet", ".jsonl": "emobox", ".json": "emobox", ".yaml": "audformat"}
    if path.suffix.lower() in by_suffix:
        return "audiofolder" if path.name == "metadata.jsonl" else by_suffix[path.suffix.lower()]
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        raise ManifestError(f"nobody knows the format of {str(source)!r}; say which of {', '.join(FORMATS)}")
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            header = {name.strip() for name in stream.readline(65_536).split(",")}
    except OSError as error:
        raise ManifestError(f"{str(source)!r} cannot be read: {error}") from error
    if header >= {"id", "path", "corpus", "speaker", "emotion", "original"}:
        return "emovox"
    return "nkululeko" if header >= {"file", "speaker", "gender", "emotion"} else "csv"


def _guess_folder(folder: Path) -> str:
    marks = {
        "wav.scp": "kaldi",
        "db.yaml": "audformat",
        "state.json": "datasets",
        "dataset_dict.json": "datasets",
        "metadata.jsonl": "audiofolder",
        "metadata.csv": "audiofolder",
    }
    for mark, name in marks.items():
        if (folder / mark).is_file():
            return name
    if next(folder.glob("*/metadata.*"), None) is not None:
        return "audiofolder"
    kept = {form.name: form.read(folder, Reading())[1].n_kept for form in (FOLDER, SUFFIX)}
    best = max(kept, key=kept.__getitem__)
    if not kept[best]:
        raise ManifestError(
            f"nothing in {str(folder)!r} says what is expressed: no folder is named by an "
            "emotion, no file name ends with one"
        )
    return best


def _format(name: str) -> Format:
    if name in FORMATS:
        return FORMATS[name]
    raise ManifestError(f"unknown format {name!r}; {did_you_mean(name, FORMATS)}")


def _writable() -> list[str]:
    return [name for name, form in FORMATS.items() if form.write is not None]


def _is_folder(form: Format) -> bool:
    return form.target(Path("x")) != Path("x") or form in (FOLDER, SUFFIX)


def _n_lost(rows: Sequence[Utterance], name: str) -> int:
    """How many rows have something in the field; an original label that says no more counts as nothing."""
    if name == "original":
        return sum(u.original != u.emotion for u in rows)
    return sum(bool(getattr(u, name)) for u in rows)

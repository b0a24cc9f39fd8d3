"""Splits as a file: who divided a corpus in a way of their own can say so, and whoever has a protocol can
hand it on.

A CSV (or TSV, by its name) with a header. One column names clips: ``id``, ``path`` (relative to the
manifest's root) or ``speaker`` (all that this person says). Beside it stand:

- ``part``: train, validation or test (other usual spellings are understood). Clips that are not named are
  left out.
- ``part`` and ``fold``: several splits; each row belongs to the fold that it names.
- ``fold`` alone: cross-validation; each fold is tested once, and the others train.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from emovox._files import replaced_text
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import VALIDATION_SHARE, Split, by_parts
from emovox.errors import ProtocolError

__all__ = ["KEYS", "read_splits", "write_splits"]

KEYS = ("id", "path", "speaker")
"""Columns that may name clips, in the order in which they are looked for."""


def read_splits(
    manifest: Manifest,
    path: str | Path,
    *,
    allow_missing: bool = False,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> tuple[Split, ...]:
    """The splits that the file at ``path`` makes of ``manifest``, folds in the order of the file.

    They are called ``file/<stem>`` or ``file/<stem>/<fold>``.

    Args:
        allow_missing: pass over rows whose clips the manifest does not hold.

    Raises:
        ProtocolError: no such file, not such a table, a clip twice in a fold, in two folds that take turns,
            or not in the manifest.
    """
    source = Path(path)
    rows = _read(source)
    key = next((name for name in KEYS if name in rows[0]), None)
    if key is None or not {"part", "fold"} & rows[0].keys():
        raise ProtocolError(
            f"{str(source)!r} has the columns {', '.join(rows[0])}; expected one of {', '.join(KEYS)}, and "
            "part or fold or both"
        )
    folds: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        value, fold = row[key], row.get("fold", "")
        if not value or value in folds[fold]:
            raise ProtocolError(f"{str(source)!r}: {key} {value!r} stands twice in a fold, or is empty")
        folds[fold][value] = row.get("part", "test")
    if "part" not in rows[0]:
        folds = _turns(folds, f"{str(source)!r}: {key}")
    spread = {
        name: _spread(manifest, key, parts, name, allow_missing)
        for name, parts in ((_name(source, fold), parts) for fold, parts in folds.items())
    }
    return tuple(
        by_parts(manifest, name, parts, validation_share=validation_share, seed=seed)
        for name, parts in spread.items()
    )


def write_splits(path: str | Path, splits: Sequence[Split]) -> Path:
    """Write ``fold,id,part``, which `read_splits` reads back; the file appears whole or not at all."""
    target = Path(path)
    with replaced_text(target) as stream:
        table = csv.writer(stream, delimiter=_delimiter(target), lineterminator="\n")
        table.writerow(("fold", "id", "part"))
        for split in splits:
            for part in ("train", "validation", "test"):
                table.writerows((split.name, key, part) for key in getattr(split, part))
    return target


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() in {".tsv", ".tab"} else ","


def _read(source: Path) -> list[dict[str, str]]:
    try:
        with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            table = csv.DictReader(stream, delimiter=_delimiter(source), strict=True)
            rows = [dict(row) for row in table]
    except FileNotFoundError as error:
        raise ProtocolError(f"there is no protocol file {str(source)!r}") from error
    except (OSError, csv.Error) as error:
        raise ProtocolError(f"{str(source)!r} is not a table that can be read: {error}") from error
    if not rows:
        raise ProtocolError(f"{str(source)!r} holds no rows; expected a header and a row a clip or speaker")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ProtocolError(f"{str(source)!r}, row {number}: more or fewer cells than the header")
    return [{name.strip().lower(): cell for name, cell in row.items()} for row in rows]


def _name(source: Path, fold: str) -> str:
    return f"file/{source.stem}/{fold}" if fold else f"file/{source.stem}"


def _turns(folds: Mapping[str, Mapping[str, str]], where: str) -> dict[str, dict[str, str]]:
    """Fold alone: each is the test of a split in which all others train."""
    home: dict[str, str] = {}
    for fold, keys in folds.items():
        for key in keys:
            if home.setdefault(key, fold) != fold:
                raise ProtocolError(
                    f"{where} {key!r} stands in the folds {home[key]!r} and {fold!r}; expected one, or a "
                    "column part: without it each is tested in its fold and trains in all others"
                )
    return {
        tested: {key: "test" if fold == tested else "train" for fold, keys in folds.items() for key in keys}
        for tested in folds
    }


def _spread(
    manifest: Manifest, key: str, parts: Mapping[str, str], name: str, allow_missing: bool
) -> dict[str, str]:
    """From values of the column ``key`` to ids."""
    found: dict[str, str] = {}
    known: dict[str, list[str]] = defaultdict(list)
    for u in manifest:
        known[getattr(u, key)].append(u.id)
    missing = [value for value in parts if value not in known]
    if missing and not allow_missing:
        raise ProtocolError(
            f"{name}: {_count(missing, key)} not in the manifest, the first is {missing[0]!r}; complete the "
            "corpus, or allow what is missing and say so beside the score"
        )
    for value, part in parts.items():
        found.update(dict.fromkeys(known.get(value, ()), part))
    return found


def _count(names: Iterable[str], key: str) -> str:
    n = len(list(names))
    return f"1 {key} is" if n == 1 else f"{n} {key}s are"

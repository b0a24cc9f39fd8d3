"""Write and read the folder of a run: what was done, with which data, by which versions.

::

    runs/x/
      config.yaml       every setting that was used
      split.csv         which clip was in which part
      bundle/           the model; `emovox predict --model runs/x` finds it there
      evaluation.*      the scores; answers.csv holds every prediction
      metrics.json      the record: hashes of clips and split, versions, seed, scores; written last

A folder with ``metrics.json`` is complete. Everything in it is text or ONNX; nothing is pickled.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import emovox
from emovox._files import write_text
from emovox.bundles import SPEC_FILE
from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError
from emovox.evaluation import metrics
from emovox.features.cache import hash_file

__all__ = [
    "ANSWERS_FILE",
    "BUNDLE_FOLDER",
    "CONFIG_FILE",
    "METRICS_FILE",
    "SCHEMA",
    "SPLIT_FILE",
    "Run",
    "clips_digest",
    "difference",
    "find_runs",
    "find_scored_part",
    "finish",
    "list_contents",
    "read_run",
    "start",
    "versions",
]

SCHEMA = 1
"""Version of the record."""

CONFIG_FILE, METRICS_FILE, SPLIT_FILE = "config.yaml", "metrics.json", "split.csv"
ANSWERS_FILE, BUNDLE_FOLDER = "answers.csv", "bundle"

_PACKAGES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "opensmile", "torch")
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A complete run."""

    folder: Path
    record: Mapping[str, Any]
    """What ``metrics.json`` holds."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def kind(self) -> str:
        """``train``, ``tune`` or ``compare``."""
        return str(self.record.get("kind", ""))


def start(folder: str | Path, config: str, *, force: bool = False) -> Path:
    """Make the folder of a run and write its config; the run is incomplete from now on.

    A folder that holds a config alone counts as empty: that run ended before it made anything.

    Args:
        config: the text of ``config.yaml``.
        force: replace a run that is there.

    Raises:
        ConfigError: the folder holds a run, or other things, and ``force`` is false; or it is a file.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{str(place)!r} is a file; expected a folder for the run, new or empty")
    there = list_contents(place)
    if there and not force:
        raise ConfigError(
            f"{str(place)!r} holds {there[0]}; name another folder, or add --force to replace the run"
        )
    place.mkdir(parents=True, exist_ok=True)
    (place / METRICS_FILE).unlink(missing_ok=True)
    (place / BUNDLE_FOLDER / SPEC_FILE).unlink(
        missing_ok=True
    )  # so that an interrupted run does not predict with an older model
    write_text(place / CONFIG_FILE, config)
    return place


def list_contents(folder: str | Path) -> list[str]:
    """List the names in a folder; none if it is missing, or holds a config alone."""
    place = Path(folder)
    there = sorted(one.name for one in place.iterdir()) if place.is_dir() else []
    return [] if there == [CONFIG_FILE] else there


def finish(folder: str | Path, record: Mapping[str, Any]) -> Run:
    """Write the record, with the versions and the time, which completes the run.

    Raises:
        ConfigError: the record holds values that JSON does not have, such as nan.
    """
    place = Path(folder)
    whole = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        **record,
    }
    try:
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the record of {str(place)!r} is no JSON: {error}") from error
    write_text(place / METRICS_FILE, text + "\n")
    return Run(place, whole)


def read_run(folder: str | Path) -> Run:
    """Read the run in ``folder``.

    Raises:
        ConfigError: there is none, it is incomplete, or its record cannot be read.
    """
    place = Path(folder)
    try:
        record = json.loads((place / METRICS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "an incomplete run" if (place / CONFIG_FILE).is_file() else "no run"
        raise ConfigError(
            f"{str(place)!r} is {what}: {METRICS_FILE} is missing; what there is:  emovox runs list DIR"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place / METRICS_FILE} cannot be read: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ConfigError(f"{place / METRICS_FILE} is no record of a run of this emovox (schema {SCHEMA})")
    return Run(place, record)


def find_runs(root: str | Path) -> list[Run]:
    """Find every complete run in ``root`` and up to three levels below, oldest first.

    Folders with another kind of ``metrics.json`` are skipped.
    """
    found = []
    for depth in range(_DEPTH + 1):
        for file in sorted(Path(root).glob("*/" * depth + METRICS_FILE)):
            try:
                found.append(read_run(file.parent))
            except ConfigError:
                continue
    return sorted(found, key=lambda run: (str(run.record.get("created")), str(run.folder)))


def find_scored_part(record: Mapping[str, Any]) -> str:
    """Return where the trials of a search were scored: ``inner folds`` or ``validation part``."""
    default = "validation part" if record.get("model_kind") == "net" else "inner folds"
    return str(record.get("scored_on", default))


def versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that a model depends on, and the machine."""
    found = {
        "emovox": emovox.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def clips_digest(manifest: Manifest) -> str:
    """Hash the clips to 16 hex digits: labels, speakers, texts, and every byte of the files."""
    seen, digests = hashlib.sha256(), dict[Path, str]()
    for u in sorted(manifest, key=lambda u: u.id):
        path = manifest.file(u)
        if path not in digests:  # many clips may be segments of one file
            digests[path] = _content(path)
        row = (u.id, u.corpus, u.emotion, u.speaker, u.text, u.start, u.end, digests[path])
        seen.update("\t".join(map(str, row)).encode("utf-8", "surrogateescape") + b"\n")
    return seen.hexdigest()[:16]


def _content(path: Path) -> str:
    """Hash a file; one that cannot be read is another content too."""
    try:
        return hash_file(path)
    except OSError:
        return "unreadable"


def difference(one: Run, other: Run) -> metrics.Difference | None:
    """Subtract the UAR of ``other`` from that of ``one`` on the same clips, paired over speakers.

    Returns ``None`` if the tested clips or their labels differ.

    Raises:
        ConfigError: the answers of a run cannot be read.
    """
    mine, theirs = _answers(one), _answers(other)
    if mine.keys() != theirs.keys() or any(mine[key][1] != theirs[key][1] for key in mine):
        return None
    ids = sorted(mine)
    speakers, true = ([mine[key][n] for key in ids] for n in (0, 1))
    answers, others = ([rows[key][2] for key in ids] for rows in (mine, theirs))
    labels = sorted({*true, *answers, *others})
    return metrics.paired_difference(true, answers, others, speakers, "uar", labels=labels)


def _answers(run: Run) -> dict[str, tuple[str, str, str]]:
    """id -> (speaker, truth, answer)."""
    try:
        with (run.folder / ANSWERS_FILE).open(encoding="utf-8", newline="") as stream:
            rows: Sequence[Mapping[str, str]] = list(csv.DictReader(stream, strict=True))
        return {row["id"]: (row["speaker"], row["true"], row["answer"]) for row in rows}
    except (OSError, csv.Error, KeyError) as error:
        raise ConfigError(f"the answers of {str(run.folder)!r} cannot be read: {error!r}") from error

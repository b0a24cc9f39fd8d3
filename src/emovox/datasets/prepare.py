"""Convert a tree of any sound to the same tree as 16 kHz mono FLAC or WAV, and the manifest with it.

A conversion can be interrupted and resumed: each finished file is entered in a ledger under a key made of its
source's content and the form it was converted to. Files are written atomically, and one that cannot be read
does not stop the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from emovox import audio
from emovox._files import atomic_path
from emovox.datasets.manifest import Manifest
from emovox.datasets.scan import walk_audio
from emovox.errors import AudioError, ManifestError

__all__ = ["LEDGER", "Container", "ConvertedFile", "convert_files", "convert_tree", "converted_manifest"]

Container = Literal["flac", "wav"]

LEDGER = ".emovox-converted.jsonl"
"""File in the target folder: one line per finished file."""

_FORM = 1
"""Version of the conversion: raised when the same source gives other samples."""


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """The outcome for one file. Paths are POSIX, relative to source and target."""

    source: str
    target: str
    state: Literal["made", "kept", "failed"]
    """``kept``: it was there already, converted from the same sound."""
    error: str | None = None
    duration_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def convert_tree(
    source: str | Path,
    target: str | Path,
    *,
    container: Container = "flac",
    workers: int = 2,
    paths: Sequence[str] | None = None,
) -> Iterator[ConvertedFile]:
    """Convert every recording below ``source`` (or only ``paths``) into ``target``; results in their order.

    Args:
        container: ``flac`` or ``wav``, both 16 bit.
        workers: threads.

    Raises:
        ManifestError: no such folder, or one folder is in the other.
        OSError: the target cannot be written, or the disk is full.
    """
    root, goal = Path(source), Path(target)
    if not root.is_dir():
        raise ManifestError(f"{str(source)!r} is not a folder; give the one that holds the sound")
    one, other = root.resolve(), goal.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ManifestError(
            f"{str(goal)!r} and {str(root)!r} are in each other; expected a folder beside the source"
        )
    found = [path for path, _ in walk_audio(root)] if paths is None else list(paths)
    return convert_files(root, goal, _make_targets(found, container), container=container, workers=workers)


def convert_files(
    root: Path, goal: Path, targets: Mapping[str, str], *, container: Container, workers: int = 2
) -> Iterator[ConvertedFile]:
    """Convert ``root/source`` into ``goal/target`` for each pair; see ``convert_tree``."""
    goal.mkdir(parents=True, exist_ok=True)
    known = _read_ledger(goal / LEDGER)
    with (
        (goal / LEDGER).open("a", encoding="utf-8") as ledger,
        ThreadPoolExecutor(max(1, workers), thread_name_prefix="emovox-convert") as pool,
    ):
        work = [
            pool.submit(_convert, root, goal, source, made, container, known)
            for source, made in targets.items()
        ]
        try:
            for task in work:
                result, key = task.result()
                if result.state == "made":
                    ledger.write(json.dumps({"target": result.target, "key": key}) + "\n")
                    ledger.flush()
                if result.state == "failed":
                    _check_room(goal)
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def converted_manifest(manifest: Manifest, goal: Path, results: Iterable[ConvertedFile]) -> Manifest:
    """The manifest of the converted tree: rows whose file was converted."""
    made = {one.source: one.target for one in results if one.state != "failed"}
    rows = (replace(u, path=made[u.path]) for u in manifest if u.path in made)
    return Manifest(goal, tuple(rows))


def _make_targets(paths: Sequence[str], container: str) -> dict[str, str]:
    """``a/x.mp3`` -> ``a/x.flac``; files that differ only in the suffix keep it: ``x.mp3.flac``."""
    stems = Counter(os.path.splitext(path)[0].lower() for path in dict.fromkeys(paths))  # noqa: PTH122
    made: dict[str, str] = {}
    for path in paths:
        stem = os.path.splitext(path)[0]  # noqa: PTH122
        made[path] = f"{stem if stems[stem.lower()] == 1 else path}.{container}"
    return made


def _read_ledger(path: Path) -> dict[str, str]:
    """Target -> key; a line that is incomplete after a crash is skipped."""
    known: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            entry = json.loads(line)
            known[str(entry["target"])] = str(entry["key"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return known


def _convert(
    root: Path, goal: Path, source: str, target: str, container: Container, known: Mapping[str, str]
) -> tuple[ConvertedFile, str]:
    try:
        key = _key(root / source, container)
        if known.get(target) == key and (goal / target).is_file():
            return ConvertedFile(source, target, "kept"), key
        duration_s = _write(root / source, goal / target, container)
    except (AudioError, ImportError, OSError, ValueError, RuntimeError) as error:
        return ConvertedFile(source, target, "failed", str(error) or type(error).__name__), ""
    return ConvertedFile(source, target, "made", duration_s=duration_s), key


def _key(path: Path, container: str) -> str:
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{_FORM}:{container}:{content}"


def _write(source: Path, target: Path, container: Container) -> float:
    """Convert one file, block by block; returns its length in seconds."""
    n_samples = 0
    with atomic_path(target) as partial:
        with soundfile.SoundFile(
            partial, "w", audio.SAMPLE_RATE, 1, "PCM_16", format=container.upper()
        ) as stream:
            for block in audio.blocks(source):
                stream.write(np.clip(block[0], -1.0, 1.0))
                n_samples += block.shape[1]
        if soundfile.info(partial).frames != n_samples:
            raise OSError(f"{target.name} could not be written whole; is the disk full?")
    return n_samples / audio.SAMPLE_RATE


def _check_room(goal: Path) -> None:
    """Stop at the first failure on a full disk; all others would fail, too."""
    if shutil.disk_usage(goal).free < 1 << 20:
        raise OSError(f"no space left in {str(goal)!r}; free some and run this again: it resumes here")

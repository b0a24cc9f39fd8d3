"""Which changed copies of clips are trained on, and what becomes of them when they are made too early.

::

    clips = copies_of(manifest, split.train, config)                 # to be extracted as any other clips

A copy follows from the plan, the seed, the clip's id and the copy's number, and from nothing else. Copies
belong to the training alone. `made_first` does it wrongly, on purpose, to show what that is worth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from emovox import audio
from emovox._arrays import Floats
from emovox._files import replaced
from emovox.augment import Plan, generator
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.splits import COPY_OF
from emovox.errors import ConfigError
from emovox.features.extraction import Clip, clips_of
from emovox.training.config import AugmentConfig, Config

__all__ = ["CopyOf", "copies_of", "copy_id", "made_first", "plan_of", "write_copies"]


@dataclass(frozen=True, slots=True)
class CopyOf:
    """One changed copy of one recording: called with its sound, it gives the copy's."""

    plan: Plan
    key: str
    """The recording's id."""
    number: int
    """From 1."""
    seed: int = 0
    noises: str = ""
    """What lies in the folders that the plan takes recordings from."""

    @property
    def name(self) -> str:
        """All that the copy depends on, but the recording's sound."""
        return json.dumps([self.plan.to_list(), self.key, self.number, self.seed, self.noises])

    def __call__(self, x: Floats, /) -> Floats:
        """The copy of ``x``, as `Plan.variants` makes it."""
        return self.plan(x, generator(self.seed, f"{self.key}#{self.number}"))


def plan_of(config: AugmentConfig) -> Plan | None:
    """The plan that a config spells out; ``None`` where there are no copies.

    Raises:
        ConfigError: a step is wrong; the message says which, and names the nearest. Or several copies are
            wanted, and no step says how they differ.
    """
    plan = Plan.of(config.steps)
    if config.copies > 1 and not plan.steps:  # one is the default, which stands in configs that want none
        raise ConfigError(
            f"augment.copies is {config.copies}, but augment.steps holds no step; expected one step at "
            "least, or augment.copies=0 for no copies"
        )
    return plan if plan.steps and config.copies else None


def copy_id(key: str, number: int) -> str:
    """What the copy of a clip is called."""
    return f"{key}#{number}"


def copies_of(manifest: Manifest, ids: Iterable[str], config: Config) -> list[Clip]:
    """The copies of the clips ``ids``, as clips under `copy_id`; none where the config wants none.

    Raises:
        ConfigError: the plan is wrong.
    """
    plan = plan_of(config.augment)
    if plan is None:
        return []
    noises = _noises(plan)
    return [
        replace(clip, id=copy_id(clip.id, number), change=CopyOf(plan, clip.id, number, config.seed, noises))
        for clip in clips_of(manifest.select(ids))
        for number in range(1, config.augment.copies + 1)
    ]


def _noises(plan: Plan) -> str:
    """Names, sizes and dates of what steps take from folders; with them the copies change."""
    seen = []
    for folder in sorted({str(row["folder"]) for row in plan.to_list() if row.get("folder")}):
        for path in sorted(Path(folder).rglob("*")):
            about = path.stat()
            seen.append(f"{path} {about.st_size} {about.st_mtime_ns}")
    return "\n".join(seen)


def made_first(manifest: Manifest, config: Config, folder: Path) -> Manifest:
    """All clips and their copies as one corpus, before anybody has split it: the wrong order.

    A copy's ``extra`` says what it is a copy of, so that an audit finds it on the other side of a split
    however much it was changed. `write_copies` makes the sound.

    Raises:
        ConfigError: the config wants no copies.
    """
    rows = [
        replace(
            u,
            id=copy_id(u.id, change.number),
            path=name,
            start=None,
            end=None,
            extra={**u.extra, COPY_OF: u.id},
        )
        for u, change, name in _first(manifest, config)
    ]
    if not rows:
        raise ConfigError(f"{config.name} makes no copies; expected augment.steps with one step at least")
    return Manifest.merged([manifest, Manifest(folder, tuple(rows))])


def write_copies(
    manifest: Manifest,
    config: Config,
    folder: Path,
    *,
    tell: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the copies that `made_first` names into ``folder``, 16 bit, but for those that lie there already.

    Args:
        tell: called with how many are there.

    Raises:
        AudioError: a clip cannot be read.
    """
    for n, (u, change, name) in enumerate(_first(manifest, config), 1):
        if not (folder / name).exists():
            with replaced(folder / name) as half:
                soundfile.write(half, change(manifest.read(u)), audio.SAMPLE_RATE, format="FLAC")
        tell(n)


def _first(manifest: Manifest, config: Config) -> Iterator[tuple[Utterance, CopyOf, str]]:
    """Every copy of every clip, and its file's name, which names all that it depends on."""
    plan = plan_of(config.augment)
    if plan is None:
        return
    noises = _noises(plan)
    for u in manifest:
        about = manifest.file(u).stat()
        for number in range(1, config.augment.copies + 1):
            change = CopyOf(plan, u.id, number, config.seed, noises)
            seen = f"{change.name} {u.start} {u.end} {about.st_size} {about.st_mtime_ns}"
            name = hashlib.sha256(seen.encode("utf-8", "surrogateescape")).hexdigest()[:24]
            yield u, change, f"{name}.flac"

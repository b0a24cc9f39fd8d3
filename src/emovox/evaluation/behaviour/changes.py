"""Changes of the sound that tests ask for, made ready for these clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emovox._arrays import Floats
from emovox.augment import Transform, make_rng, make_transform
from emovox.augment.noise import list_recordings
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import MissingExtraError
from emovox.evaluation.babble import BabblePool
from emovox.evaluation.behaviour.samples import NotApplicable

__all__ = ["Change", "prepare_change"]


@dataclass(frozen=True)
class Change:
    """Transforms in order; babble without a folder is mixed from the data and has its ratio alone."""

    steps: tuple[Transform | float, ...]
    kinds: tuple[str, ...]
    key: str
    """Identifies the change, its settings and the recordings it uses."""

    def apply(self, x: Floats, u: Utterance, *, digest: str, seed: int, pool: BabblePool) -> Floats:
        """Return the changed samples of a clip whose samples have this digest.

        Randomness depends on the seed, the samples and the kinds: every level of a noise is the same noise,
        and a clip gets the same noise under any name.
        """
        rng = make_rng(seed, f"{'+'.join(self.kinds)}:{digest}")
        for step in self.steps:
            x = step(x, rng) if isinstance(step, Transform) else pool.add_babble(x, u, step, rng)
        return x


def prepare_change(
    steps: Sequence[Mapping[str, Any]], sounds: Mapping[str, str], manifest: Manifest
) -> Change:
    """Make the transforms of a test's change.

    Args:
        steps: rows of ``kind`` and settings.
        sounds: name -> folder of recordings (or pattern), which ``folder`` of a step may name.
        manifest: the clips, from which babble is mixed.

    Raises:
        NotApplicable: recordings, an extra or other speakers are missing; the message says which.
        ConfigError: a folder has no recording.
    """
    made: list[Transform | float] = []
    facts: list[Any] = []
    for step in steps:
        kind, settings = step["kind"], {key: value for key, value in step.items() if key != "kind"}
        if kind == "babble" and "folder" not in settings:
            if len(manifest.speakers) < 2:
                raise NotApplicable("babble is mixed from other speakers, and the data has one")
            made.append(float(settings["snr_db"]))
            facts.append([kind, settings, _digest_clips(BabblePool(manifest).clips(), manifest)])
            continue
        recordings = None
        if "folder" in settings:
            name = str(settings["folder"])
            if name not in sounds and not Path(name).is_dir():
                raise NotApplicable(f"there are no recordings of {name}: give them with --noise {name}=DIR")
            settings["folder"] = sounds.get(name, name)
            files = list_recordings(settings["folder"])
            recordings = _digest([[path.name, path.stat().st_size] for path in files])
        try:
            made.append(make_transform(kind, **settings))
        except MissingExtraError as error:
            raise NotApplicable(str(error)) from None
        facts.append([kind, {**settings, "folder": recordings} if recordings else settings])
    return Change(tuple(made), tuple(step["kind"] for step in steps), _digest(facts))


def _digest_clips(clips: Sequence[Utterance], manifest: Manifest) -> str:
    rows = []
    for u in clips:
        file = manifest.file(u)
        rows.append([u.id, u.speaker, u.start, u.end, file.stat().st_size if file.exists() else None])
    return _digest(rows)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:24]

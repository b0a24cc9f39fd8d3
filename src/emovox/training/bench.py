"""What does a recipe reach on a corpus, strictly tested, and what does a leaky protocol make of it?

A *recipe* trains one model: it is called with a `Job` and leaves a bundle. Every fold is trained, exported,
and judged through the recogniser that users run. Finished folds are kept, so that an interrupted benchmark
goes on where it stopped. Before anything is trained, each split is audited; one whose test holds recordings
of its training is refused unless it is allowed by name, and its stamp stays.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import emovox
from emovox._files import write_json
from emovox.bundles import load_bundle
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import Audit, Fingerprint, audit
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import STAMPS, Split
from emovox.errors import ConfigError, MissingExtraError, ProtocolError, did_you_mean
from emovox.evaluation import metrics
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.inference.recognizer import Recognizer
from emovox.training.run_folder import clips_digest

__all__ = ["RECIPES", "Job", "Made", "Plan", "Recipe", "Settings", "find_recipe", "plan", "run"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a benchmark's figures depend on, beside the data and the protocol."""

    recipe: str = "vox"
    short: bool = False
    """A tenth of the training: to see that all works, not to report."""
    seed: int = 0
    config: str = ""
    """All settings of the recipe, where it has some, as text."""


@dataclass(frozen=True, slots=True)
class Job:
    """One model to train: only on ``split.train``, choosing only by ``split.validation``."""

    manifest: Manifest
    split: Split
    folder: Path
    """Where the bundle goes."""
    cache: Path
    """A folder for what the folds share, such as features; the recipe keys what it keeps there."""
    settings: Settings
    workers: int = 1
    """Processes that may be used."""

    @property
    def protocol(self) -> str:
        """What belongs into ``Spec.protocol``: the split's name and the digest of its content."""
        return f"{self.split.name}#{self.split.digest}"


@dataclass(frozen=True, slots=True)
class Made:
    """What a recipe may tell of a model, beside its bundle."""

    n_parameters: int
    """Numbers that were learnt."""
    train_s: float
    """Seconds of processor time that the training took, without the features."""


Recipe = Callable[[Job], Made | None]

RECIPES: Mapping[str, str] = {"vox": "emovox.training.recipe:vox"}
"""Recipes that come with emovox: name -> ``module:function``."""


def find_recipe(name: str) -> Recipe:
    """A recipe by its name, or your own as ``module:function``.

    Raises:
        ConfigError: there is none.
        MissingExtraError: it needs an extra that is not installed.
    """
    place = RECIPES.get(name, name)
    module, _, function = place.partition(":")
    if not function:
        raise ConfigError(
            f"no recipe {name!r}; {did_you_mean(name, RECIPES)}, and your own is named module:function"
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except ImportError as error:
        if name in RECIPES:
            raise MissingExtraError(f"the recipe {name!r}", "train") from error
        raise ConfigError(f"the recipe {name!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"the module {module!r} has no function {function!r}") from error
    recipe: Recipe = found
    return recipe


@dataclass(frozen=True, slots=True)
class Plan:
    """One corpus under one protocol, audited."""

    corpus: str
    protocol: str
    manifest: Manifest
    splits: tuple[Split, ...]
    audits: tuple[Audit, ...]

    @property
    def stamp(self) -> str:
        """The worst of the splits."""
        return max((one.stamp for one in self.audits), key=STAMPS.index)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What tests and trainings have in common, over all splits."""
        nameless = [u for u in self.manifest if u.known_speaker is None]
        unknown = {u.speaker for u in nameless}
        speakers = {name for one in self.audits for name in one.shared_speakers}
        kinds: tuple[tuple[str, Iterable[str]], ...] = (
            ("speakers", sorted(speakers - unknown)),
            ("sentences", (name for one in self.audits for name in one.shared_texts)),
            ("recordings", (f"{one} = {other}" for found in self.audits for one, other in _pairs(found))),
        )
        told = [(kind, list(dict.fromkeys(names))) for kind, names in kinds]
        reasons = [
            f"{len(names)} {kind} on both sides" + (f", such as {names[0]}" if kind == "recordings" else "")
            for kind, names in told
            if names
        ]
        if speakers & unknown:
            reasons.append(
                f"nobody says who speaks in {len(nameless)} of the {len(self.manifest)} clips, so the same "
                "voices may be on both sides"
            )
        if not all(one.heard for one in self.audits):
            reasons.append("nobody listened for copies")
        return tuple(reasons) or ("nothing is shared that is known",)


def _pairs(found: Audit) -> list[tuple[str, str]]:
    return [*found.named, *((copy.one, copy.other) for copy in found.copies)]


def plan(
    manifest: Manifest,
    protocol: str,
    *,
    corpus: str,
    allow: Sequence[str] = (),
    prints: Mapping[str, Fingerprint] | None = None,
) -> Plan:
    """Make the splits of ``protocol``, and audit them.

    Args:
        allow: ``contaminated`` lets such splits be trained, ``missing`` a corpus that is not whole.
        prints: fingerprints of the clips (`emovox.datasets.overlap.listen`); ``None`` = nobody listened.

    Raises:
        ProtocolError: no such protocol, or a split is contaminated and that is not allowed.
    """
    if strange := set(allow) - {"contaminated", "missing"}:
        raise ProtocolError(f"{sorted(strange)[0]!r} cannot be allowed; expected contaminated or missing")
    parts = make_splits(manifest, protocol, allow_missing="missing" in allow)
    audits = tuple(audit(manifest, part, prints=prints, hear=False) for part in parts)
    made = Plan(corpus, protocol, manifest, parts, audits)
    if made.stamp == "contaminated" and "contaminated" not in allow:
        raise ProtocolError(
            f"{corpus} under {protocol!r} is contaminated: {'; '.join(made.reasons)}. A score would not be "
            "one; to train all the same, with the stamp:  --allow contaminated"
        )
    return made


def run(
    made: Plan,
    settings: Settings,
    *,
    out: str | Path,
    recipe: Recipe | None = None,
    workers: int = 1,
    fresh: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train and judge every split of a plan; the row of the benchmark, in plain JSON types.

    Args:
        out: a folder; folds that it holds, made with the same settings of the same clips, are kept.
        recipe: instead of the one that ``settings.recipe`` names.
        fresh: train all folds anew.
        tell: called with a line of text after each fold.
    """
    trainer = recipe or find_recipe(settings.recipe)
    home = Path(out) / made.corpus / _plain_name(made.protocol)
    clips, folds = clips_digest(made.manifest), []
    for number, (split, found) in enumerate(zip(made.splits, made.audits, strict=True), 1):
        file = home / f"{number}.json"
        key = _key(split, settings, clips)
        fold = None if fresh else _kept(file, key)
        if fold is None:
            job = Job(made.manifest, split, home / f"{number}", Path(out) / "cache", settings, workers)
            fold = {"key": key, "stamp": found.stamp, **_fold(job, trainer)}
            write_json(file, fold)
            tell(f"{split.name}: UAR {fold['uar']:.1%}, {fold['seconds']:.0f} s")
        else:
            tell(f"{split.name}: UAR {fold['uar']:.1%}, from before")
        folds.append(fold)
    return _row(made, settings, folds)


def _fold(job: Job, recipe: Recipe) -> dict[str, Any]:
    started = time.monotonic()
    told = recipe(job)
    model = Recognizer(load_bundle(job.folder))
    tested = job.manifest.select(job.split.test)
    answers = predict_manifest(model, tested, workers=job.workers)
    return {
        "split": job.split.name,
        "digest": job.split.digest,
        "n_train": len(job.split.train),
        "n_validation": len(job.split.validation),
        "n_test": len(answers),
        "uar": round(answers.uar().value, 6),
        "wa": round(answers.wa().value, 6),
        "ece": _ece(answers),
        "n_errors": len(answers.errors),
        "seconds": round(time.monotonic() - started, 1),
        "n_parameters": None if told is None else told.n_parameters,
        "train_s": None if told is None else round(told.train_s, 2),
        "clips_per_s": round(_speed(model, tested), 2),
        "answers": list(zip(answers.ids, answers.speakers, answers.y_true, answers.y_pred, strict=True)),
    }


def _speed(model: Recognizer, manifest: Manifest) -> float:
    """Clips a second of processor time, from the files to the answers, by one thread."""
    some = manifest.select(manifest.ids[:: max(1, len(manifest) // _TIMED)][:_TIMED])
    began = time.process_time()
    predict_manifest(model, some)
    return len(some) / max(time.process_time() - began, 1e-9)


_TIMED = 50
"""Clips of the test whose answers are timed."""


def _ece(answers: Predictions) -> float | None:
    try:
        return round(answers.ece(), 6)
    except ValueError:  # no clip got an answer
        return None


def _row(made: Plan, settings: Settings, folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    _, speakers, true, pred = zip(*(answer for fold in folds for answer in fold["answers"]), strict=True)
    scores = {name: metrics.speaker_interval(true, pred, speakers, name) for name in ("uar", "wa")}
    return {
        "corpus": made.corpus,
        "protocol": made.protocol,
        **asdict(settings),
        "emovox": emovox.__version__,
        "stamp": made.stamp,
        "reasons": list(made.reasons),
        "n_clips": len(true),
        "n_speakers": len(set(speakers)),
        "n_labels": len(set(true)),
        "mean_uar": round(sum(fold["uar"] for fold in folds) / len(folds), 6),
        **{name: _mean(folds, name) for name in ("n_parameters", "train_s", "clips_per_s")},
        **{name: _rounded(interval) for name, interval in scores.items()},
        "folds": [{k: v for k, v in fold.items() if k not in ("key", "answers")} for fold in folds],
    }


def _mean(folds: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Over the folds; ``None`` where one does not say it."""
    values = [fold[name] for fold in folds if fold[name] is not None]
    return round(sum(values) / len(values), 3) if len(values) == len(folds) else None


def _rounded(interval: metrics.Interval) -> dict[str, Any]:
    plain = {k: round(v, 6) if isinstance(v, float) else v for k, v in interval.to_dict().items()}
    return {**plain, "per_speaker": {k: round(v, 6) for k, v in interval.per_speaker.items()}}


def _key(split: Split, settings: Settings, clips: str) -> str:
    """Names all that a fold's figures depend on; ``clips`` is `clips_digest`."""
    what = {**asdict(settings), "split": split.digest, "clips": clips, "emovox": emovox.__version__}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    """A fold from before, if it was made of the same."""
    try:
        fold: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return fold if fold.get("key") == key else None
    except (OSError, ValueError, AttributeError):
        return None


def _plain_name(protocol: str) -> str:
    """A folder's name for a protocol."""
    plain = re.sub(r"[^\w.=-]+", "-", protocol).strip("-.")
    return plain if plain == protocol else f"{plain[:60]}-{hashlib.sha256(protocol.encode()).hexdigest()[:6]}"

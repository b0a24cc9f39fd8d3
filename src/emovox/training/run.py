"""Train one model: all that the command ``emovox train`` does.

::

    run = emovox.train(data="corpora/ravdess", features="emovox-core", model="svc", output="runs/svc")
    run.metrics["scores"]["uar"], run.metrics["stamp"]
    run.recognizer().predict("clip.wav")

Load the clips, split them, compute features, fit, calibrate, export a bundle, evaluate it on the test part
through the recogniser that users run, and write the folder of the run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emovox.bundles import Score, write_bundle
from emovox.datasets.cells import KEY
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import fingerprint_clips
from emovox.datasets.protocols import write_splits
from emovox.datasets.split_plan import SplitPlan, make_split, plan_splits
from emovox.datasets.splits import shrink_training
from emovox.datasets.targets import check_targets
from emovox.errors import ConfigError, ManifestError
from emovox.evaluation.evaluate import Evaluation, evaluate_split
from emovox.inference.recognizer import Recognizer
from emovox.inference.recognizer import load as load_model
from emovox.reports import evaluation_summary
from emovox.training import run_folder, tracking
from emovox.training.config import Changes, Config, Source, to_yaml
from emovox.training.inputs import SplitInputs
from emovox.training.regressor_trainer import read_part
from emovox.training.trainers import ExportedModel, make_config, make_trainer

__all__ = ["TrainingRun", "learning_curve", "train"]

CHECKPOINT_FOLDER = "training"
"""Where the checkpoint and the curves of a net are, in the folder of its run."""

_NOT_COMPARED = (
    "the clips were not compared by sound, so the test may hold changed copies of training clips; to compare "
    "them:  emovox train --listen"
)


@dataclass(frozen=True)
class TrainingRun:
    """A finished training: a folder with a bundle, its evaluation and its record."""

    folder: Path
    config: Config
    """Every setting that was used."""
    metrics: Mapping[str, Any]
    """What ``metrics.json`` holds."""
    evaluation: Evaluation
    """Of the bundle on the test part."""
    n_unread: int = 0
    """Clips that could not be read."""

    @property
    def bundle(self) -> Path:
        """The folder of the bundle."""
        return self.folder / run_folder.BUNDLE_FOLDER

    def recognizer(self, **options: Any) -> Recognizer:
        """Load the bundle; ``options`` are those of `emovox.load`."""
        return load_model(self.bundle, **options)

    def _repr_html_(self) -> str:
        return evaluation_summary(self.evaluation.document, folder=str(self.folder))


def train(
    config: Source | Config = None,
    *,
    data: str | Path | list[str] | None = None,
    features: str | None = None,
    model: str | None = None,
    labels: str | None = None,
    targets: str | Sequence[str] | None = None,
    drop_unknown: bool = False,
    protocol: str | None = None,
    seed: int | None = None,
    settings: Changes = (),
    compare_sound: bool = False,
    train_share: float = 1.0,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    workers: int = 1,
    store: str | Path | None = None,
    mlflow: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingRun:
    """Train a model, export it as a bundle, evaluate the bundle, and write the folder of the run.

    Args:
        config: a YAML file (configs/), nested mappings, a `Config`, or ``None`` for the defaults.
        data: manifests, tables, trees or folders of corpora (docs/corpora.md).
        features: a feature set (``emovox features --list``).
        model: an estimator or a net (docs/training.md).
        labels: ``all``, ``common`` (to all corpora), ``9``, ``7``, ``6``, ``4``, or emotions with commas;
            ``none`` with targets, for values alone.
        targets: columns whose values are predicted, such as ``arousal,valence`` (docs/values.md).
        drop_unknown: leave out rows of the data without a label; otherwise they stop the run.
        protocol: one split (docs/protocols.md), such as ``emobox/ravdess/1``.
        seed: of all that is random.
        settings: further settings, such as ``{"train.epochs": 3}`` or ``["train.epochs=3"]``.
        compare_sound: also search by sound for changed copies of training clips in the test; otherwise the
            stamp says that this was not done.
        train_share: share of the training clips of each label that is used; the test does not change.
        output: folder of the run; unless given a temporary one, which is removed with the `TrainingRun`.
        force: replace a run that is there.
        resume: continue a net whose training in ``output`` was stopped.
        workers: processes; the result is the same for any number of them.
        store: cache of features; the user's unless given.
        mlflow: folder or server of MLflow, or ``off``; where it is installed, ``mlruns`` beside ``output``.
        notify: called with lines for people.
        progress: called with (clips done, clips in all) of each pass over the clips.

    Raises:
        ConfigError: a setting is unknown or impossible, or ``output`` holds something else.
        ManifestError: the data cannot be read, or the test has labels that the training lacks.
        ProtocolError: the protocol is unknown, or has several splits.
        MissingExtraError: the model or its features need an extra that is not installed.
    """
    started = time.monotonic()
    tracking.check_location(mlflow)
    options = {
        "data": [str(data)] if isinstance(data, Path) else data,
        "labels": labels,
        "targets": split_targets(targets) if isinstance(targets, str) else targets,
        "drop_unknown": drop_unknown or None,
        "protocol": protocol,
    }
    settled = make_config(config, settings, features=features, model=model, seed=seed, **options)
    trainer = make_trainer(settled)
    trainer.check()
    dataset = Dataset.load(settled.data, labels=settled.labels, drop_unknown=settled.drop_unknown)
    for note in dataset.notes:
        notify(note)
    need_labels = settled.labels != "none"
    plan = make_split(dataset.manifest, settled.protocol, need_labels=need_labels, warn=notify)
    if compare_sound:
        notify(f"comparing {len(dataset.manifest)} clips by sound")
        prints, _ = fingerprint_clips(dataset.manifest)  # clips that fail are reported with their features
        allowed = ("missing", "contaminated")
        plan = plan_splits(dataset.manifest, plan.protocol, allow=allowed, fingerprints=prints)
    if train_share != 1.0:
        fewer = shrink_training(dataset.manifest, plan.splits[0], train_share, settled.seed)
        plan = replace(plan, splits=(fewer,))
    split = plan.splits[0]
    if settled.targets:  # what is wrong with the cells is reported before the work
        check_targets(read_part(settled, dataset.manifest, split.train), settled.targets, "training")
    notify(
        f"{split.name}: {len(split.train)} clips train, {len(split.validation)} validate, "
        f"{len(split.test)} are tested"
    )
    trained_labels = set(dataset.manifest.select(split.train).emotions)
    tested = dataset.manifest.select(split.test)
    if need_labels and (unknown := [name for name in tested.emotions if name not in trained_labels]):
        raise ManifestError(
            f"the test has the labels {', '.join(unknown)}, which no training clip has; to leave those clips "
            f"out:  --labels {','.join(sorted(trained_labels))}"
        )
    if need_labels and (n_soft := sum(KEY in dataset.manifest[key].extra for key in split.train)):
        notify(f"{n_soft} of the {len(split.train)} training clips have soft labels, which are trained on")
    trainer = make_trainer(replace(settled, protocol=plan.protocol))
    settled = trainer.config
    is_temporary = output is None
    if output is None:
        output = tempfile.mkdtemp(prefix="emovox-run-")
    folder = _start(Path(output), to_yaml(settled), force=force, resume=resume)
    inputs = trainer.load(
        dataset.manifest, split, workers=workers, store=store, notify=notify, progress=progress
    )
    checkpoints = folder / CHECKPOINT_FOLDER
    try:
        fitted = trainer.fit(inputs, folder=checkpoints, notify=notify)
    except KeyboardInterrupt:
        if checkpoints.exists():
            notify("stopped, and saved up to the last whole epoch; to resume add  --resume")
        raise
    exported = trainer.export(fitted, inputs)
    for note in exported.notes:
        notify(note)
    write_splits(folder / run_folder.SPLIT_FILE, plan.splits)
    bundle = folder / run_folder.BUNDLE_FOLDER
    spec = write_bundle(bundle, exported.model, exported.spec, replace=True)
    evaluation = evaluate_split(
        load_model(bundle),
        tested,
        within=dataset.manifest,
        protocol=split.name,
        splits=plan.splits,
        settings={
            "merged": {new: list(old) for new, old in dataset.merged.items()},
            "left_out": dict(dataset.dropped),
            "not_read": dataset.n_unread,
            "selected_columns": list(exported.selected or ()),
        },
        workers=workers,
        notify=notify,
        progress=progress,
    )
    stamp = evaluation.document["stamp"]
    if plan.stamp == "contaminated":  # by sound, for the names alone were not
        stamp = {"stamp": plan.stamp, "reasons": list(plan.reasons)}
        notify(f"contaminated: {'; '.join(plan.reasons)}")
    elif not compare_sound and stamp["stamp"] != "contaminated":
        stamp = {**stamp, "reasons": [*stamp["reasons"], _NOT_COMPARED]}
        notify(_NOT_COMPARED)
    evaluation.document["stamp"] = stamp
    if checkpoints.exists():
        from emovox.training.neural.curves import read_curves

        evaluation.document["training"] = read_curves(checkpoints)
    evaluation.write(folder)
    notify(f"written: {folder / 'evaluation.html'} and evaluation.json, evaluation.md, answers.csv beside it")
    # The score is known only now, so the spec is written a second time.
    scored = replace(spec, scores=tuple(_make_scores(evaluation.document, tested)))
    write_bundle(bundle, exported.model, scored, replace=True)
    record = _make_record(settled, dataset.manifest, plan, inputs, exported, evaluation.document)
    record["seconds"] = round(time.monotonic() - started, 1)
    run = run_folder.finish(folder, record)
    n_unread = len(inputs.errors) + len(evaluation.predictions.errors)
    done = TrainingRun(folder, settled, run.record, evaluation, n_unread)
    if is_temporary:
        weakref.finalize(done, shutil.rmtree, folder, ignore_errors=True)
    else:
        tracking.track_run(run, mlflow, notify)
    return done


def split_targets(text: str) -> list[str]:
    """Split names of targets at commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def learning_curve(
    config: Source | Config = None, *, sizes: Sequence[float], output: str | Path, **options: Any
) -> list[TrainingRun]:
    """Train on growing shares of the training part, each tested on the same clips.

    Smaller parts are subsets of larger ones, and every label keeps its share of the clips.

    Args:
        config: as in `train`.
        sizes: shares above 0, at most 1; two or more.
        output: folder, in which each run has a folder such as ``size-0.25``.
        options: further arguments of `train`.

    Raises:
        ConfigError: there are fewer than two sizes, or one is not a share.
    """
    shares = sorted(set(sizes))
    if len(shares) < 2 or not all(0 < share <= 1 for share in shares):
        listed = ", ".join(f"{share:g}" for share in shares)
        raise ConfigError(
            f"the training sizes are {listed or 'none'}; expected two or more shares, such as 0.25,0.5,1"
        )
    return [
        train(config, train_share=share, output=Path(output) / f"size-{share:g}", **options)
        for share in shares
    ]


def _start(folder: Path, config: str, *, force: bool, resume: bool) -> Path:
    """Begin a new run, or continue the one that was stopped if its config is the same."""
    if resume:
        kept = folder / run_folder.CONFIG_FILE
        if not kept.is_file() or (folder / run_folder.METRICS_FILE).exists():
            raise ConfigError(f"{str(folder)!r} holds no run that was stopped; expected one for --resume")
        if kept.read_text(encoding="utf-8") != config:
            raise ConfigError(
                f"{str(kept)!r} differs from the config of this command; resume with that config"
            )
    elif force:
        shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    return run_folder.start(folder, config, force=force or resume)


def _make_scores(document: Mapping[str, Any], tested: Manifest) -> Iterator[Score]:
    """The scores of an evaluation as a spec holds them; the number of speakers only where all are known."""
    found, stamp = [], document["stamp"]["stamp"]
    if stamp == "strict" and _NOT_COMPARED in document["stamp"]["reasons"]:
        stamp = "strict, not compared by sound"
    if "scores" in document:
        found.append(("uar", document["scores"]["uar"], document["data"]["n_clips"]))
    for row in document.get("values", ()):
        if row["ccc"] is not None and row["ccc"]["value"] is not None:
            found.append((f"ccc {row['target']}", row["ccc"], row["n_clips"]))
    for metric, interval, n_clips in found:
        yield Score(
            corpus="+".join(document["data"]["corpora"]),
            protocol=f"{document['protocol']['name']} ({stamp})",
            metric=metric,
            value=interval["value"],
            low=interval["low"],
            high=interval["high"],
            n_speakers=interval["n_speakers"] if all(u.known_speaker is not None for u in tested) else None,
            n_clips=n_clips,
        )


def _make_record(
    config: Config,
    manifest: Manifest,
    plan: SplitPlan,
    inputs: SplitInputs,
    exported: ExportedModel,
    document: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``metrics.json`` says of a training."""
    split, uar = plan.splits[0], exported.validation_uar
    of_values: dict[str, Any] = {}
    if config.targets:
        of_values = {
            "validation_ccc": dict(exported.validation_ccc),
            "values": [
                {key: value for key, value in row.items() if key not in ("points", "speakers")}
                for row in document.get("values", ())
            ],
        }
    return {
        "kind": "train",
        "name": config.name,
        "model": config.model.name,
        "seed": config.seed,
        "seconds": 0.0,
        "features": dict(inputs.reference or {}),
        "n_columns": len(exported.selected or inputs.columns),
        "selected_columns": None if exported.selected is None else list(exported.selected),
        "data": {
            "digest": run_folder.clips_digest(manifest),
            "corpora": list(manifest.corpora),
            "n_clips": len(manifest),
            "n_speakers": manifest.n_known_speakers,
            "unread": [{"id": key, "error": why} for key, why in inputs.errors.items()],
        },
        "split": {
            "name": split.name,
            "digest": split.digest,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
            "n_test": len(split.test),
        },
        "stamp": document["stamp"],
        "validation_uar": None if uar is None else round(uar, 6),
        "temperature": round(exported.spec.temperature, 6),
        "scores": document.get("scores", {}),
        **of_values,
        "model_sha256": document["model"]["sha256"],
        "notes": list(exported.notes),
    }

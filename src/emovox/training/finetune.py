"""Fit a model to labels of your own, on the embeddings of a model that is there: numpy is all it needs.

::

    run = emovox.finetune("mine/", output="runs/mine")           # mine/angry/*.wav, mine/calm-voice/*.wav ...
    run.metrics["scores"]["uar"], run.metrics["notes"]
    run.recognizer().predict("clip.wav")

The head is a logistic regression on the embedding and the logits of the base model, with an L2 penalty; where
the base model has all the labels it corrects its logits, so that five clips of a label are enough to begin
with. What it reaches is estimated by cross-validation, over speakers where they are known, and the head that
is written learns from all clips. Temperature and abstention are set on the same predictions for clips that
were held out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emovox._arrays import Doubles, Floats, Ints
from emovox._files import write_text
from emovox.audio import SAMPLE_RATE
from emovox.bundles import MODEL_FILE, Abstain, Licence, Score, load_bundle, registry, write_bundle
from emovox.datasets import formats
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.errors import AudioError, ConfigError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.leakage import find_stamp, pack_hashes
from emovox.evaluation.predictions import Predictions
from emovox.features.extraction import list_clips, read_clips
from emovox.inference.recognizer import Recognizer, load
from emovox.labels import sort_labels
from emovox.training import run_folder
from emovox.training.bundle_spec import find_licence
from emovox.training.calibration import calibrated, log_softmax
from emovox.training.onnx_head import replace_head

__all__ = [
    "L2",
    "MIN_CLIPS",
    "FinetuningRun",
    "finetune",
    "fit_head",
    "fit_logistic_regression",
    "make_folds",
]

MIN_CLIPS = 5
"""Of each label."""

_N_FOLDS = 5
_FEW_CLIPS = 20
"""Of a label: with fewer, the report says how little the estimate is worth."""

L2 = 0.3
"""Penalty on the squared weights of standardised columns, beside the mean log-loss per clip; from .1 to 1 it
hardly matters (docs/experiments)."""

_STEPS = 400


@dataclass(frozen=True)
class FinetuningRun:
    """A finished fine-tuning: a folder with a bundle and its record."""

    folder: Path
    metrics: Mapping[str, Any]
    """What ``metrics.json`` holds."""
    predictions: Predictions
    """Of the clips while they were held out."""

    @property
    def bundle(self) -> Path:
        """The folder of the bundle."""
        return self.folder / run_folder.BUNDLE_FOLDER

    def recognizer(self, **options: Any) -> Recognizer:
        """Load the bundle; ``options`` are those of `emovox.load`."""
        return load(self.bundle, **options)


def finetune(
    data: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "default",
    labels: str = "all",
    drop_unknown: bool = False,
    name: str = "finetuned",
    coverage: float = 0.9,
    seed: int = 0,
    output: str | Path,
    force: bool = False,
    workers: int = 1,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FinetuningRun:
    """Fit a calibrated head for the labels of ``data`` on the embeddings of a model, and write a bundle.

    Args:
        data: manifests, tables, trees or folders of corpora (docs/corpora.md); any labels.
        model: the base model: a name from `emovox.models`, or a folder.
        labels: as in `emovox.train`.
        drop_unknown: leave out rows of the data without a label; otherwise they stop the run.
        name: of the new bundle.
        coverage: share of the held-out clips that get a label, the least confident being ``uncertain``.
        seed: of the folds.
        output: folder of the run.
        force: replace a run that is there.
        workers: processes that read the clips.
        notify: called with lines for people.
        progress: called with (clips done, clips in all).

    Raises:
        ConfigError: the model gives no embedding, a label has too few clips, or ``output`` holds something.
        ManifestError: the data cannot be read.
    """
    source = registry.find(model)
    base = load_bundle(source)
    if base.model.embedding_size is None:
        raise ConfigError(
            f"the model {str(model)!r} gives no embedding to fine-tune on; expected one that does; "
            "a model of its own learns from features:  emovox train"
        )
    if base.spec.targets:
        raise ConfigError(
            f"the model {str(model)!r} gives values of {', '.join(base.spec.target_names)}; expected a model "
            "of labels alone"
        )
    dataset = _load(data, labels, drop_unknown)
    for note in dataset.notes:
        notify(note)
    manifest = dataset.manifest
    counts = manifest.counts("emotion")
    if len(counts) < 2 or min(counts.values()) < MIN_CLIPS:
        shown = ", ".join(f"{label} {n}" for label, n in counts.items()) or "none"
        enough = [str(label) for label, n in counts.items() if n >= MIN_CLIPS]
        advice = f"; or leave labels out:  --labels {','.join(enough)}" if len(enough) > 1 else ""
        raise ConfigError(
            f"the clips are {shown}; expected at least two labels, and {MIN_CLIPS} clips of each{advice}"
        )
    settings = {
        "model": str(model),
        "data": [str(one) for one in _list(data)],
        "labels": labels,
        "seed": seed,
    }
    folder = run_folder.start(output, json.dumps({"finetune": settings}, indent=1) + "\n", force=force)

    x, read, errors = _embed(Recognizer(base), manifest, workers, progress)
    for key, why in errors.items():
        notify(f"{key}: {why}")
    manifest = manifest.select(read)
    names = sort_labels(u.emotion for u in manifest)
    y = np.array([names.index(u.emotion) for u in manifest])
    if len(names) < 2 or np.bincount(y).min() < MIN_CLIPS:
        raise ManifestError(f"too few clips could be read: {len(errors)} of {len(dataset)} failed")
    speakers = [u.known_speaker for u in manifest]
    folds, by_speaker = make_folds(y, speakers, _N_FOLDS, seed)
    notes = _warn(manifest, by_speaker, len(folds))
    for note in notes:
        notify(note)

    held_out = np.zeros((len(y), len(names)))
    for test in folds:
        training = np.setdiff1d(np.arange(len(y)), test)
        weight, bias = fit_head(x[training], y[training], names, base.spec.labels)
        held_out[test] = x[test] @ weight + bias
    calibration = calibrated(held_out, y, coverage)
    notes += calibration.notes
    weight, bias = fit_head(x, y, names, base.spec.labels)

    predictions = _tabulate(manifest, names, held_out, calibration.temperature, calibration.threshold)
    uar = predictions.uar()
    protocol = f"{len(folds)} folds of {'speakers' if by_speaker else 'clips'}"
    stamp = "strict" if by_speaker else "speaker-dependent"
    # A head on an embedding that was trained on the same clips or speakers is not tested on new ones.
    of_base = find_stamp(base.spec, manifest, manifest.ids)
    if base.spec.corpora and of_base.stamp in ("contaminated", "speaker-dependent"):
        # Folds of clips are speaker-dependent at best.
        stamp = of_base.stamp if by_speaker or of_base.stamp == "contaminated" else stamp
        shared = [f"the base model {base.spec.name}: {reason}" for reason in of_base.reasons]
        for reason in shared:
            notify(reason)
        notes += shared
    score = Score(
        corpus="+".join(manifest.corpora),
        protocol=f"cross-validated, {protocol} ({stamp})",
        metric="uar",
        value=round(uar.value, 6),
        low=uar.low,
        high=uar.high,
        n_speakers=uar.n_speakers if by_speaker else None,
        n_clips=len(manifest),
    )
    licence = find_licence(manifest.corpora)
    spec = replace(
        base.spec,
        name=name,
        version="1",
        description=f"Fine-tuned from {base.spec.name} {base.spec.version} on {len(manifest)} clips",
        labels=names,
        temperature=calibration.temperature,
        abstain=Abstain(confidence=calibration.threshold),
        corpora=tuple(dict.fromkeys((*base.spec.corpora, *manifest.corpora))),
        protocol="all clips",
        taught=pack_hashes(manifest, base.spec.taught),
        licence=Licence(
            code=base.spec.licence.code,
            weights=f"{base.spec.licence.weights} (base model); {licence.weights}",
            commercial=base.spec.licence.commercial and licence.commercial,
        ),
        scores=(score,),
        sha256="",
        created="",
    )
    graph = replace_head(
        (source / MODEL_FILE).read_bytes(), weight.astype(np.float32), bias.astype(np.float32)
    )
    written = write_bundle(folder / run_folder.BUNDLE_FOLDER, graph, spec, replace=True)
    write_text(folder / run_folder.ANSWERS_FILE, predictions.to_csv())
    confusion = metrics.confusion_matrix(predictions.y_true, predictions.y_pred, labels=list(names))
    record = {
        "kind": "finetune",
        "name": name,
        "model": str(model),
        "seed": seed,
        "features": {"set": f"embedding of {base.spec.name} {base.spec.version}"},
        "data": {
            "digest": run_folder.clips_digest(manifest),
            "corpora": list(manifest.corpora),
            "n_clips": len(manifest),
            "n_speakers": len({who for who in speakers if who is not None}),
            "labels": manifest.counts("emotion"),
            "unread": [{"id": key, "error": why} for key, why in errors.items()],
        },
        "split": {"name": protocol},
        "stamp": {"stamp": stamp, "reasons": notes or ["speakers of a fold are in no other"]},
        "scores": {
            "uar": {k: v for k, v in uar.to_dict().items() if k not in ("per_speaker", "n_clips")},
            "confusion": {"labels": list(names), "counts": confusion.tolist()},
        },
        "temperature": round(calibration.temperature, 6),
        "model_sha256": written.sha256,
        "notes": notes,
    }
    return FinetuningRun(folder, run_folder.finish(folder, record).record, predictions)


def _list(data: Any) -> list[Any]:
    return list(data) if isinstance(data, list | tuple) else [data]


def _load(data: Any, labels: str, drop_unknown: bool) -> Dataset:
    """Load the clips; of a single folder the sub-folders are the labels, even if none is a known emotion."""
    try:
        return Dataset.load(data, labels=labels, drop_unknown=drop_unknown)
    except ManifestError:
        paths = _list(data)
        if labels != "all" or len(paths) != 1 or not Path(paths[0]).is_dir():
            raise
        manifest, report = formats.read(paths[0], format="folder")
        if report.refused and not drop_unknown:
            raise
        return Dataset(manifest, () if report.ok else tuple(report.lines()))


def _embed(
    model: Recognizer, manifest: Manifest, workers: int, progress: Callable[[int, int], None]
) -> tuple[Doubles, list[str], dict[str, str]]:
    """Embeddings and logits ``(n, d + n_labels)`` of the clips that could be read, their ids, and errors."""
    rows, read, errors = [], [], {}
    for n, clip in enumerate(read_clips(list_clips(manifest), workers=workers), 1):
        try:
            if clip.error is not None:
                raise AudioError(clip.error)
            rows.append(np.concatenate(model.embed_with_logits(clip.values[0], sample_rate=SAMPLE_RATE)))
            read.append(clip.clip.id)
        except AudioError as error:
            errors[clip.clip.id] = str(error)
        progress(n, len(manifest))
    if not rows:
        raise ManifestError(f"none of the {len(manifest)} clips could be read")
    return np.stack(rows).astype(np.float64), read, errors


def _warn(manifest: Manifest, by_speaker: bool, n_folds: int) -> list[str]:
    """What makes the estimate worth less than it looks."""
    notes = []
    speakers = {u.known_speaker for u in manifest}
    of_label: dict[str, set[str | None]] = {}
    for u in manifest:
        of_label.setdefault(u.emotion, set()).add(u.known_speaker)
    if not by_speaker:
        known = "the speakers are unknown" if speakers == {None} else "too few speakers have every label"
        notes.append(
            f"{known}, so clips of one speaker may be on both sides of the folds: the estimate is optimistic"
        )
    named = [label for label, names in of_label.items() if None not in names]
    shared = Counter(name for label in named for name in of_label[label])
    if len(named) == len(of_label) and max(shared.values()) == 1:
        listed = "; ".join(f"{label}: {', '.join(sorted(map(str, of_label[label])))}" for label in of_label)
        notes.append(
            f"speakers and labels are confounded ({listed}): the model may learn who speaks rather than what "
            "is expressed; record every label with several speakers"
        )
    few = {label: n for label, n in manifest.counts("emotion").items() if n < _FEW_CLIPS}
    if few:
        shown = ", ".join(f"{label} {n}" for label, n in few.items())
        notes.append(f"few clips ({shown}; {_FEW_CLIPS} or more are better): the estimate is rough")
    return notes


def make_folds(y: Ints, speakers: Sequence[str | None], n_folds: int, seed: int) -> tuple[list[Ints], bool]:
    """Part clips into folds: by speakers if each training part then has every label, else by clips.

    Returns:
        Indices of the clips that each fold holds out, and whether the folds are parted by speakers.
    """
    rng = np.random.default_rng(seed)
    names = sorted({who for who in speakers if who is not None})
    if all(who is not None for who in speakers) and len(names) > 1:
        order = [names[n] for n in rng.permutation(len(names))]
        places = {who: n % min(n_folds, len(names)) for n, who in enumerate(order)}
        fold = np.array([places[str(who)] for who in speakers])
        parts = [np.flatnonzero(fold == n) for n in range(fold.max() + 1)]
        if all(len(np.unique(np.delete(y, part))) == len(np.unique(y)) for part in parts):
            return parts, True
    fold = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        fold[rows] = np.arange(len(rows)) % n_folds
    return [np.flatnonzero(fold == n) for n in range(n_folds)], False


def fit_head(
    x: Doubles, y: Ints, labels: Sequence[str], base_labels: Sequence[str], l2: float = L2
) -> tuple[Doubles, Doubles]:
    """Fit a head on the embedding and the logits of the base model.

    If the base model has all the labels, the head is a correction of its logits, which with few clips stays
    small: a head of its own was worse than the base model with five clips of a label (docs/experiments).

    Args:
        x: ``(n, d + len(base_labels))``, embeddings and logits.
        y: ``(n,)``, indices of ``labels``.

    Returns:
        Weights ``(d + len(base_labels), len(labels))`` and biases ``(len(labels),)``.
    """
    base = np.zeros((x.shape[1], len(labels)))
    if set(labels) <= set(base_labels):
        for column, label in enumerate(labels):
            base[x.shape[1] - len(base_labels) + base_labels.index(label), column] = 1.0
    weight, bias = fit_logistic_regression(x, y, len(labels), l2, x @ base)
    return weight + base, bias


def fit_logistic_regression(
    x: Doubles, y: Ints, n_labels: int, l2: float = L2, base: Doubles | float = 0.0
) -> tuple[Doubles, Doubles]:
    """Fit a multinomial logistic regression in which every label counts the same.

    The columns are standardised; the weights that are returned are those of the columns as they are.
    Minimised by accelerated gradient descent (Nesterov, 1983), in the span of the rows if they are fewer than
    the columns, which changes nothing (the representer theorem).

    Args:
        x: ``(n, d)``.
        y: ``(n,)``, 0 to ``n_labels - 1``.
        l2: penalty on half of the squared weights, beside the mean log-loss.
        base: ``(n, n_labels)``, logits to which those of the regression are added.

    Returns:
        Weights ``(d, n_labels)`` and biases ``(n_labels,)``.
    """
    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-6 * np.abs(mean) + 1e-12] = np.inf  # constant but for rounding
    z = (x - mean) / scale
    basis = None
    if z.shape[1] > len(z):
        values, vectors = np.linalg.eigh(z @ z.T)
        kept = values > 1e-10 * values[-1]
        lengths = np.sqrt(values[kept])
        z, basis = vectors[:, kept] * lengths, z.T @ (vectors[:, kept] / lengths)
    target = np.eye(n_labels)[y]
    share = (target / target.sum(0)).sum(1, keepdims=True) / n_labels
    design = np.hstack([z, np.ones((len(z), 1))])
    penalty = np.full((design.shape[1], 1), l2)
    penalty[-1] = 0.0
    # The curvature of the softmax is at most a half, so this step never overshoots.
    step = 1 / (0.5 * np.linalg.eigvalsh((design * share).T @ design)[-1] + l2)
    weight = ahead = np.zeros((design.shape[1], n_labels))
    momentum = 1.0
    for _ in range(_STEPS):
        error = np.exp(log_softmax(design @ ahead + base)) - target
        following = ahead - step * (design.T @ (share * error) + penalty * ahead)
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / after * (following - weight)
        weight, momentum = following, after
    inner = weight[:-1] if basis is None else basis @ weight[:-1]
    plain = inner / scale[:, None]
    return plain, weight[-1] - mean @ plain


def _tabulate(
    manifest: Manifest, names: tuple[str, ...], logits: Doubles, temperature: float, threshold: float
) -> Predictions:
    probabilities: Floats | Doubles = np.exp(log_softmax(logits / temperature))
    return Predictions(
        ids=manifest.ids,
        labels=names,
        y_true=tuple(u.emotion for u in manifest),
        y_pred=tuple(names[n] for n in logits.argmax(1)),
        speakers=tuple(u.speaker for u in manifest),
        corpora=tuple(u.corpus for u in manifest),
        probabilities=np.asarray(probabilities, np.float64),
        abstained=probabilities.max(1) < threshold,
    )

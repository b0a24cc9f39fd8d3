"""Evaluate a model on labelled clips: predictions, scores with intervals over speakers, and the stamp.

evaluation = emovox.evaluate("default", "corpora/emodb", protocol="loso/emodb-03")
evaluation.document["scores"]["uar"], evaluation.document["stamp"]
evaluation.write("report")           # evaluation.json, .md and .html, answers.csv
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from emovox._files import write_text
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import Split
from emovox.errors import ConfigError, ManifestError
from emovox.evaluation.leakage import find_stamp
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.evaluation.robustness import measure_robustness, sample_clips
from emovox.evaluation.scorecard import make_scorecard
from emovox.inference.recognizer import Recognizer
from emovox.inference.recognizer import load as load_model
from emovox.labels import canonical_all, label_map
from emovox.reports import evaluation_html, evaluation_markdown

__all__ = ["FILES", "Evaluation", "Selection", "evaluate", "evaluate_split", "select_clips"]

FILES = ("evaluation.json", "evaluation.md", "evaluation.html", "answers.csv")
"""Files that `Evaluation.write` makes."""

Notify = Callable[[str], None]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on labelled clips, and the predictions they were computed from."""

    document: dict[str, Any]
    """All figures as plain JSON types: see `emovox.evaluation.scorecard`."""
    predictions: Predictions

    def _repr_markdown_(self) -> str:
        return evaluation_markdown(self.document)

    def write(self, folder: str | Path) -> None:
        """Write the document as JSON, Markdown and HTML, and the predictions as CSV, into a folder.

        Each file (see `FILES`) is written whole or not at all, and replaces one that is there.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        texts = (
            json.dumps(self.document, ensure_ascii=False, indent=1, allow_nan=False) + "\n",
            evaluation_markdown(self.document),
            evaluation_html(self.document),
            self.predictions.to_csv(),
        )
        for name, text in zip(FILES, texts, strict=True):
            write_text(place / name, text)


def evaluate(
    model: str | Path | Recognizer,
    data: str | Path | Sequence[str | Path] | Dataset,
    protocol: str = "all",
    *,
    corpus: str | None = None,
    labels: str | Sequence[str] | None = None,
    mapping: str | None = None,
    vad: Literal["on", "off"] = "on",
    robustness: bool | int = False,
    drop_unknown: bool = False,
    workers: int = 1,
    notify: Notify | None = None,
    progress: Advance | None = None,
) -> Evaluation:
    """Evaluate a model on labelled clips, and stamp what the test shares with the model's training.

    Args:
        model: a name or path as for `emovox.load`, or a recogniser.
        data: paths of manifests, tables, trees or folders of corpora (docs/corpora.md), or a `Dataset`.
        protocol: which clips are tested: ``all``, or a protocol such as ``emobox``, ``loso``, ``given`` or
            ``FILE.csv`` (see `emovox.datasets.protocols`), whose test parts are taken together.
        corpus: which corpus the data is, or to take of it.
        labels: keep the clips of these emotions, and predict only these.
        mapping: fold the emotions to ``9``, ``7``, ``6`` or ``4`` first.
        vad: voice activity detection; has no effect on a recogniser that is passed in.
        robustness: also predict under noise, codecs, reverberation and other changes: on all clips, or on
            that many, drawn evenly over speakers and emotions.
        drop_unknown: leave out rows without a label, and others that cannot be used.
        workers: processes; the result is the same for any number of them.
        notify: called with lines for people: unread files, merged and dropped labels, clips with errors.
        progress: called with (clips done, clips in all).

    Raises:
        ManifestError: no clip is left, or the data have emotions that the model cannot predict.
        ProtocolError: the protocol is unknown, or not possible with this data.
        LabelError: a label or map is unknown.
        ConfigError: labels or robustness are asked of a model of values alone.
    """
    notify = notify or (lambda _: None)
    recognizer = model if isinstance(model, Recognizer) else load_model(model, vad=vad)
    if not recognizer.labels and (labels is not None or mapping):
        raise ConfigError(
            f"the model {recognizer.name!r} predicts values alone; expected neither labels nor a map of them"
        )
    if isinstance(data, Dataset):
        dataset = data
    else:
        kept = "all" if recognizer.labels else "none"
        dataset = Dataset.load(data, corpus=corpus, labels=kept, drop_unknown=drop_unknown)
    for line in dataset.notes:
        notify(line)
    selection = select_clips(
        recognizer, dataset, protocol=protocol, labels=labels, mapping=mapping, notify=notify
    )
    asked = selection.tested
    return evaluate_split(
        recognizer,
        asked.manifest,
        within=selection.whole,
        relabelled=selection.relabelled,
        labels=selection.names,
        protocol=selection.protocol,
        splits=selection.splits,
        settings={
            "map": mapping,
            "merged": {new: list(old) for new, old in asked.merged.items()},
            "left_out": dict(asked.dropped),
            "not_read": dataset.n_unread,
            "vad": vad,
        },
        robustness=robustness,
        workers=workers,
        notify=notify,
        progress=progress,
    )


@dataclass(frozen=True)
class Selection:
    """The clips of a test, selected and relabelled."""

    tested: Dataset
    names: tuple[str, ...] | None
    """Labels to predict; ``None`` for all of the model."""
    whole: Manifest
    """All clips at hand, for the stamp."""
    relabelled: Manifest
    """Those that remain after folding and dropping labels."""
    splits: tuple[Split, ...]
    protocol: str


class _Labelled(Protocol):
    @property
    def labels(self) -> tuple[str, ...]: ...


def select_clips(
    model: _Labelled,
    dataset: Dataset,
    *,
    protocol: str = "all",
    labels: str | Sequence[str] | None = None,
    mapping: str | None = None,
    notify: Notify,
) -> Selection:
    """Select the tested clips of a protocol, with labels that a model can predict.

    Arguments and errors as in `evaluate`.
    """
    whole = dataset.manifest
    fold = label_map(mapping) if mapping else None
    names: tuple[str, ...] | None = None
    if labels is not None:
        names = canonical_all(labels, model.labels)
    elif fold is not None:
        names = tuple(name for name in fold.labels if name in model.labels)
    relabelled = dataset.relabel(mapping=fold, labels=names).manifest
    claim = model.spec.protocol if isinstance(model, Recognizer) else ""
    splits = () if protocol == "all" else _find_splits(protocol, relabelled, whole, claim)
    tested = {key for split in splits for key in split.test} if splits else set(whole.ids)
    asked = dataset.select(tested).relabel(mapping=fold, labels=names)
    known = names or model.labels
    if known and (unknown := [name for name in asked.manifest.emotions if name not in known]):
        shared = [name for name in known if name in asked.manifest.emotions]
        raise ManifestError(
            f"the data has {', '.join(unknown)}, which this model cannot predict; to leave those clips out "
            f"and report it beside the score:  --labels {','.join(shared) or 'A,B'}"
        )
    for new, old in asked.merged.items():
        notify(f"counted as {new}: {', '.join(old)}")
    if asked.dropped:
        counts = ", ".join(f"{name} {n}" for name, n in asked.dropped.items())
        notify(f"left out, for they are not among the labels: {counts} clips")
    name = protocol if len(splits) != 1 else splits[0].name
    return Selection(asked, names, whole, relabelled, splits, name)


def evaluate_split(
    recognizer: Recognizer,
    tested: Manifest,
    *,
    within: Manifest,
    relabelled: Manifest | None = None,
    labels: Sequence[str] | None = None,
    protocol: str,
    splits: Sequence[Split] = (),
    settings: Mapping[str, Any] | None = None,
    robustness: bool | int = False,
    workers: int = 1,
    notify: Notify | None = None,
    progress: Advance | None = None,
) -> Evaluation:
    """Evaluate a recogniser on clips that were loaded, relabelled and split already.

    Args:
        tested: the clips to predict.
        within: all clips at hand, for the stamp; ``relabelled`` as in `find_stamp`.
        labels: predict only these.
        protocol: its name, for the document.
        splits: of the protocol; where there are several, each gets a row in the document.
        settings: what else was asked for, as plain JSON types; goes into the document.
        robustness, workers, notify, progress: as in `evaluate`.

    Raises:
        ManifestError: no clip is tested, or one has an emotion that cannot be predicted.
    """
    notify = notify or (lambda _: None)
    if robustness is not False and not recognizer.labels:
        raise ConfigError("robustness is measured by the UAR of labels, which this model does not have")
    predictions = predict_manifest(recognizer, tested, labels=labels, workers=workers, progress=progress)
    if predictions.values is not None:
        for target in recognizer.spec.targets:
            if target.name not in predictions.values.targets:
                notify(f"no clip has a value of {target.name!r}, which is not scored")
    for key, error in predictions.errors:
        notify(f"{key}: {error}")
    if predictions.errors:
        outcome = "they count as wrong" if predictions.labels else "they are not scored"
        notify(f"{len(predictions.errors)} of {len(predictions)} clips could not be read; {outcome}")
    changed = None
    if robustness is not False:
        some = tested if robustness is True else sample_clips(tested, robustness)
        changed = measure_robustness(recognizer, some, labels=labels, workers=workers, progress=progress)
    spec = recognizer.spec
    document = make_scorecard(
        predictions,
        tested,
        spec=spec,
        stamp=find_stamp(spec, within, predictions.ids, known=splits, relabelled=relabelled),
        protocol=protocol,
        splits=splits,
        settings=settings,
        robustness=changed,
    )
    return Evaluation(document, predictions)


def _find_splits(protocol: str, relabelled: Manifest, whole: Manifest, claim: str) -> tuple[Split, ...]:
    """Return the splits of the relabelled clips; or of all clips, if the model was trained by one of those.

    Folding and dropping labels changes random folds, so the split that the model claims decides.
    """
    digest = claim.partition("#")[2]
    splits = make_splits(relabelled, protocol, allow_missing=True)
    if not digest or relabelled.ids == whole.ids or digest in {split.digest for split in splits}:
        return splits
    of_all = make_splits(whole, protocol, allow_missing=True)
    return of_all if digest in {split.digest for split in of_all} else splits

"""The tasks of a run: predict the expressed emotion of recordings, compute timelines, or compute features.

A task is small and picklable, and states the columns of its rows and all that they depend on. A worker loads
it once and gets the function that turns an item into rows. Rows do not depend on time or worker.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from emovox.audio import SAMPLE_RATE
from emovox.audio import Source as AudioSource
from emovox.batch import storage
from emovox.batch.inputs import BatchItem, public_name
from emovox.batch.outputs import BatchRow, Fields
from emovox.errors import BundleCorruptError, ConfigError, EmovoxError, TranscriptError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from emovox.features import FeatureSet
    from emovox.features.extraction import Clip
    from emovox.inference.recognizer import Recognizer

__all__ = [
    "BatchTask",
    "FeatureTask",
    "ItemFunction",
    "PredictionTask",
    "make_feature_task",
    "make_prediction_task",
]

ItemFunction: TypeAlias = Callable[[BatchItem, str], tuple[list[BatchRow], float]]
"""Of an item and where it is: its rows, and how many seconds of sound they are about."""


class BatchTask(Protocol):
    """What is done with each recording."""

    @property
    def fields(self) -> Fields:
        """What a row holds."""

    def record(self) -> dict[str, Any]:
        """All that its rows depend on, as plain JSON types."""

    def load(self) -> ItemFunction:
        """Load what is needed; called once in each worker.

        Raises:
            EmovoxError: it cannot be loaded, or is not what it was.
        """


# --- expressed emotions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """``predict`` or ``timeline``, by its options."""

    options: PredictOptions
    model: str
    """As `emovox.load` takes it; a folder by its whole path."""
    name: str
    """The model's name and version, for people."""
    sha256: str
    labels: tuple[str, ...]
    segments: str | None = None
    """Suffix of the label file beside each recording whose segments are predicted; ``None``: none."""
    targets: tuple[str, ...] = ()
    """Of which the model gives values."""

    @property
    def fields(self) -> Fields:
        """What the ``to_dict`` of a result gives; of a segment also why it has no prediction."""
        times = {"file": "text", "channel": "int", "start_s": "float", "end_s": "float"}
        said = {"label": "text", "reason": "text", "confidence": "float"}
        scores = {"scores": dict.fromkeys(self.labels, "float")} if self.labels else {}
        if self.targets:
            scores["values"] = dict.fromkeys(self.targets, "float")
        levels = dict.fromkeys(("level_dbfs", "peak_dbfs", "clipped", "speech_s"), "float")
        quality = {} if self.options.timeline else {"quality": {**levels, "warnings": "texts"}}
        if self.segments is None:
            return {**times, **said, **scores, **quality}
        return {**times, "speaker": "text", "text": "text", **said, **scores, **quality, "problem": "text"}

    def record(self) -> dict[str, Any]:
        """As `BatchTask.record`."""
        options = self.options
        return {
            "task": "timeline" if options.timeline else "predict",
            "model": {"name": self.name, "sha256": self.sha256},
            "labels": list(self.labels),
            "channels": options.channels,
            "vad": options.vad or "on",
            **({"window_s": options.window_s, "hop_s": options.hop_s} if options.timeline else {}),
            **({} if self.segments is None else {"segments": self.segments, "adapt": options.adapt}),
        }

    def load(self) -> ItemFunction:
        """As `BatchTask.load`."""
        from emovox.inference.recognizer import load as load_model

        model = load_model(self.model)
        if model.spec.sha256 != self.sha256:
            raise BundleCorruptError(
                f"the model {self.model!r} is not the one that this run began with: its sha256 is "
                f"{model.spec.sha256[:12]}, not {self.sha256[:12]}; has it been replaced, or is another "
                "emovox installed here?"
            )
        if self.segments is not None:
            return partial(_predict_segments, model, self.options, self.segments, tuple(self.fields))
        return partial(_predict_item, model, self.options)


def make_prediction_task(
    model: str = "default", options: PredictOptions | None = None, *, segments: str | None = None
) -> PredictionTask:
    """Return the task that predicts with a model.

    Args:
        model: as `emovox.load` takes it.
        options: of the predictions; ``adapt`` needs segments, and is to each speaker of a recording.
        segments: suffix of the label file beside each recording, whose segments are predicted: for ``srt``,
            those of ``call.srt`` in ``call.wav``.

    Raises:
        BundleError: there is no such model, or it is damaged.
        LabelError, ConfigError: the options cannot be met.
    """
    from emovox.bundles import registry
    from emovox.inference.recognizer import load as load_model

    options = options or PredictOptions()
    if segments is not None:
        segments = f".{segments.removeprefix('.')}"
        options = replace(options, segments=())  # refuses what segments exclude
    if options.profile is not None or (options.adapt and segments is None):
        raise ConfigError("a profile is of one source, and many recordings are of many; leave it out")
    found = registry.find(model)
    loaded = load_model(found)  # a model that cannot be opened is refused now, not by each worker
    labels = tuple(loaded.check(options).labels or ())
    if options.labels is not None:
        options = replace(options, labels=labels)
    spec = loaded.spec
    by_name = found.parent == registry.EMBEDDED or model.startswith("hf://")
    where = model if by_name else str(found.absolute())
    return PredictionTask(
        options, where, f"{spec.name} {spec.version}", spec.sha256, labels, segments, spec.target_names
    )


def _predict_item(
    model: Recognizer, options: PredictOptions, item: BatchItem, place: str
) -> tuple[list[BatchRow], float]:
    sound, begin_s = _sound(item, place)
    rate = SAMPLE_RATE if hasattr(sound, "__array__") else None
    rows, audio_s = [], 0.0
    for result, _ in model.results(sound, options, sample_rate=rate):
        row = result.with_file(public_name(item.file)).to_dict()
        audio_s = max(audio_s, row["end_s"] or 0.0)
        for name in ("start_s", "end_s") if begin_s else ():
            row[name] = None if row[name] is None else round(row[name] + begin_s, 3)
        rows.append(row)
    return rows, audio_s


def _predict_segments(
    model: Recognizer,
    options: PredictOptions,
    suffix: str,
    fields: Sequence[str],
    item: BatchItem,
    place: str,
) -> tuple[list[BatchRow], float]:
    """The rows of the segments of one recording, then those of parts of its label file that are no segments.

    A segment without a prediction has a ``problem``: an ``error`` would be one of the recording.
    """
    from emovox.transcripts.reading import MAX_TRANSCRIPT_BYTES, read_transcript

    if item.start_s is not None or item.end_s is not None:
        raise EmovoxError("the table names a span of it; segments are of whole recordings")
    path, mark, query = place.partition("?") if storage.is_url(place) else (place, "", "")
    beside = f"{os.path.splitext(path)[0]}{suffix}{mark}{query}"  # noqa: PTH122 - of URLs too
    content = storage.read_bytes(beside, max_bytes=MAX_TRANSCRIPT_BYTES)
    try:
        transcript = read_transcript(content, recording=path)
    except TranscriptError as error:
        raise TranscriptError(f"its label file {storage.redact(beside)!r}: {error}") from None
    file = public_name(item.file)
    rows: list[BatchRow] = []
    for result, _ in model.results(
        storage.audio_source(place), replace(options, segments=transcript.segments)
    ):
        row = result.with_file(file).to_dict()
        row["problem"] = row.pop("error", None)
        rows.append({name: row[name] for name in fields if name in row})
    rows += [{"file": file, "problem": problem} for problem in transcript.problems]
    return rows, max((row["end_s"] for row in rows if "label" in row), default=0.0)


def _sound(item: BatchItem, place: str) -> tuple[AudioSource, float]:
    """The sound to predict, and where in the recording it begins."""
    if item.start_s is None and item.end_s is None:
        return storage.audio_source(place), 0.0
    from emovox.features.extraction import read_clips

    with _here(place) as path:
        (one,) = read_clips([_clip(item, path)])
        if one.error is not None:
            raise EmovoxError(one.error.replace(path, item.file))
        return one.values[0], item.start_s or 0.0


def _clip(item: BatchItem, path: str) -> Clip:
    from emovox.features.extraction import Clip

    return Clip(item.key, path, item.start_s, item.end_s)


@contextmanager
def _here(place: str) -> Iterator[str]:
    """A path of this machine: that of the place, or of a copy while it is needed."""
    if storage.is_local(place):
        yield str(storage.local_path(place))
        return
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        copy = Path(folder) / "recording"
        copy.write_bytes(storage.read_bytes(place))
        yield str(copy)


# --- features ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureTask:
    """``features``: one row of sets of features a recording."""

    sets: tuple[FeatureSet, ...]

    @property
    def fields(self) -> Fields:
        """The recording, its stretch, and the columns of every set."""
        return {
            "file": "text",
            "start_s": "float",
            "end_s": "float",
            **dict.fromkeys(self._columns(), "float32"),
        }

    def _columns(self) -> list[str]:
        several = len(self.sets) > 1
        return [f"{one.name}.{name}" if several else name for one in self.sets for name in one.columns]

    def record(self) -> dict[str, Any]:
        """As `BatchTask.record`."""
        return {"task": "features", "sets": [one.reference() for one in self.sets]}

    def load(self) -> ItemFunction:
        """As `BatchTask.load`."""
        return _Describer(self.sets, self._columns())


def make_feature_task(sets: Sequence[FeatureSet]) -> FeatureTask:
    """The task that computes features.

    Raises:
        ConfigError: no set, or one that gives frames.
        MissingExtraError: a set needs an extra that is not installed.
    """
    if not sets:
        raise ConfigError("no set of features was named; expected at least one")
    for one in sets:
        if one.kind != "vector":
            raise ConfigError(f"the set {one.name!r} gives frames; a row a recording needs a set of vectors")
        one.columns  # noqa: B018 - a missing extra is reported now
    return FeatureTask(tuple(sets))


class _Describer:
    """Computes sets of one recording after the other."""

    def __init__(self, sets: Sequence[FeatureSet], columns: Sequence[str]) -> None:
        from emovox.features.extraction import iter_features

        self._columns = columns
        self._given: deque[Clip] = deque()
        # With one worker it takes a clip when it is asked for the next answer, and not before.
        self._told = iter_features(iter(self._given.popleft, None), sets)

    def __call__(self, item: BatchItem, place: str) -> tuple[list[BatchRow], float]:
        from emovox.audio import SAMPLE_RATE

        with _here(place) as path:
            self._given.append(_clip(item, path))
            one = next(self._told)
        if one.error is not None:
            raise EmovoxError(one.error.replace(path, item.file))
        audio_s, begin_s = (one.n_samples or 0) / SAMPLE_RATE, item.start_s or 0.0
        cells = zip(self._columns, (value for row in one.values for value in row.tolist()), strict=True)
        numbers = {name: value if isfinite(value) else None for name, value in cells}
        return [
            {"file": public_name(item.file), "start_s": begin_s, "end_s": begin_s + audio_s, **numbers}
        ], audio_s

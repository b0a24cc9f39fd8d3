"""Scores of one sound: the bundle's answer in the labels of one call, adapted to one source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.bundles import Bundle, ModelOutput
from emovox.errors import ConfigError, LabelError
from emovox.inference.adaptation import Profile, RunningStatistics, make_adaptation, make_statistics
from emovox.inference.windows import MARGIN_S, AudioWindow, Windower
from emovox.labels import canonical_all
from emovox.results import Adaptation

__all__ = [
    "MIN_HOP_S",
    "MIN_SPEECH_SHARE",
    "SHORT_S",
    "SHORT_SPEECH_THRESHOLD",
    "ScoredSound",
    "Scorer",
    "SoundMemory",
]

MIN_SPEECH_SHARE = 0.1
"""A window with less speech (0.3 s of 3) is not scored: it holds the edge of a word, or a false alarm."""

SHORT_S = 1.5
SHORT_SPEECH_THRESHOLD = 0.05
"""Least speech probability of sounds shorter than ``SHORT_S``: of single words, of which the speech output of
default 3.0 saw few, 14 % of 0.6 s are below 0.5 and none below 0.03, as all tones, hums and noises are."""

MIN_HOP_S = 0.1
"""Shorter hops only repeat the same answer."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSound:
    """What a model says about one sound."""

    logits: Floats
    """``(n_labels,)`` of all labels of the model, before the temperature."""
    scores: Doubles
    """Probabilities ``(n_labels,)``, summing to 1; empty in a model of values alone."""
    values: Doubles
    """``(n_targets,)``, in the order of ``spec.targets``."""
    is_speech: bool
    """False when the model itself says that the sound is not speech."""
    embedding: Floats | None
    """``(d,)``, before any adaptation; ``None``: the model has none."""
    row: Floats | None
    """What adaptation learns from: the features ``(d,)`` or the embedding ``(d,)``; ``None``: the model has
    neither."""


@dataclass(frozen=True, slots=True, eq=False)
class SoundMemory:
    """What a graph remembers of the sound of a stream."""

    rows: Floats
    """``(1, p, m)``, one row for each of the last frames."""
    end: int
    """One past the last sample of that sound, counted from the stream's start."""


class Scorer:
    """A bundle, restricted to some of its labels and adapted to one source. Immutable.

    Args:
        bundle: an opened model.
        labels: names or aliases, also as ``"a,b"``; all of the model's when ``None``.
        profile: statistics of the speaker or source of the sounds to come.
        detect_speech: whether windows drop their silence, and the model's own speech output is used, if it
            has one.

    Raises:
        LabelError: a label is unknown, or the model cannot answer it.
        ProfileError: the model cannot use the profile.
    """

    def __init__(
        self,
        bundle: Bundle,
        labels: Iterable[str] | str | None = None,
        profile: Profile | None = None,
        *,
        detect_speech: bool = True,
    ) -> None:
        self.spec = bundle.spec
        known = bundle.spec.labels
        labels = labels if labels is None or isinstance(labels, str) else tuple(labels)
        if labels and not known:
            raise LabelError(
                f"the model {self.spec.name!r} has no labels to choose from; it gives values of "
                f"{', '.join(self.spec.target_names)}"
            )
        self.names = canonical_all(labels, known) if labels is not None and known else known
        """Labels in the order of the scores."""
        self.min_samples = math.ceil(self.spec.min_s * SAMPLE_RATE)
        self._bundle = bundle
        self._columns = [known.index(name) for name in self.names]
        self._profile = profile
        self._adaptation = None if profile is None else make_adaptation(bundle, profile)
        self._threshold = 0.0
        self._detect_speech = detect_speech
        if detect_speech and self.spec.speech is not None:
            self._threshold = self.spec.speech.threshold

    @property
    def adaptation(self) -> Adaptation | None:
        """How far the model is adapted; ``None`` when it is not."""
        return None if self._adaptation is None else self._adaptation.summary

    def probabilities(self, logits: NDArray[Any]) -> Doubles:
        """Logits ``(..., n_labels)`` -> ``(..., len(names))`` float64, summing to 1 over the last axis."""
        # In float64, so that scores sum to 1 to the last printed digit.
        z = logits[..., self._columns].astype(np.float64) / self.spec.temperature
        if not self._columns:
            return z
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    def score(self, sound: Floats) -> ScoredSound:
        """Score a sound ``(n,)``. One sound per run: its answer then depends on nothing but itself."""
        model_input = self._bundle.compute_input(sound)
        output = self._bundle.run([model_input], self._adaptation)
        return self._read(output, len(sound), None if self._bundle.normalizer is None else model_input)

    def _read(self, output: ModelOutput, n: int, features: Floats | None = None) -> ScoredSound:
        """Read the output for one sound of ``n`` samples; adaptation learns from ``features``, if any."""
        embedding = output.embedding_of(0)
        threshold = self._threshold
        if n < SHORT_S * SAMPLE_RATE:
            threshold = min(threshold, SHORT_SPEECH_THRESHOLD)
        return ScoredSound(
            logits=output.logits[0],
            scores=self.probabilities(output.logits[0]),
            values=output.values[0].astype(np.float64),
            is_speech=output.speech_probability(0) >= threshold,
            embedding=embedding,
            row=embedding if features is None else features,
        )

    def score_window(self, window: AudioWindow) -> ScoredSound | None:
        """Score a window; ``None`` when it holds too little sound or speech.

        As a clip, it is cut to its speech where the model has a speech output.
        """
        if not self._is_scored(window) or window.sound is None:
            return None
        start, end = self.find_scored_span(window)
        scored = self.score(window.sound[start:end])
        return scored if scored.is_speech else None

    def continue_window(
        self, window: AudioWindow, memory: SoundMemory | None
    ) -> tuple[ScoredSound | None, SoundMemory | None]:
        """Score a window of which the graph remembers all but the end.

        A window that is not scored is not encoded and ends the memory. Without a memory a window is encoded
        from the beginning of what is scored of it. The last window of a stream, which adds less than a block
        and so begins before what is remembered, is scored by itself, as `score_window` does.

        Args:
            window: of a windower that `shares_frames`.
            memory: what this returned for the window before.

        Returns:
            The scores as `score_window`, and the memory for the window after.
        """
        stream = self.spec.stream
        if not self._is_scored(window) or window.sound is None or stream is None:
            return None, None
        if memory is not None and window.end - memory.end != round(stream.block_s * SAMPLE_RATE):
            return self.score_window(window), None
        frame = round(SAMPLE_RATE / stream.frames_per_s)
        start, end = self.find_scored_span(window)
        n = len(window.sound)
        # What is encoded ends with the window, so that the next one can continue it, in whole frames.
        n_new = min(n, -(-(n - start) // frame) * frame) if memory is None else window.end - memory.end
        rows = None if memory is None else memory.rows
        first = n - n_new - (0 if rows is None else rows.shape[1] * frame)
        span = max(0, (start - first) // frame), -((first - end) // frame)
        output = self._bundle.run_block(window.sound[n - n_new :], rows, span, self._adaptation)
        scored = self._read(output, end - start)
        memory = None if output.memory is None else SoundMemory(output.memory, window.end)
        return scored if scored.is_speech else None, memory

    def shares_frames(self, windower: Windower) -> bool:
        """Whether windows can be scored by `continue_window`: the model has a memory of the right length."""
        stream = self.spec.stream
        if stream is None:
            return False
        block, memory = round(stream.block_s * SAMPLE_RATE), round(stream.memory_s * SAMPLE_RATE)
        return windower.hop == block < windower.window <= block + memory

    def _is_scored(self, window: AudioWindow) -> bool:
        """Whether a window holds enough sound and speech."""
        if window.sound is None or window.speech < MIN_SPEECH_SHARE or len(window.sound) < self.min_samples:
            return False
        # The detector has no least level: it may take dither for speech.
        return not audio.is_silent(window.sound)

    def find_scored_span(self, window: AudioWindow) -> tuple[int, int]:
        """First sample of a window that is scored and the one past its last, counted from its start."""
        n = window.end - window.start
        if self.spec.speech is None:
            return 0, n
        margin, (start, end) = round(MARGIN_S * SAMPLE_RATE), window.speech_span
        return max(0, start - margin), min(n, end + margin)

    def make_statistics(self, emotion: str | None = None) -> RunningStatistics:
        """Open statistics to learn the source from; they begin with those of the profile.

        Raises:
            ProfileError: the model cannot be adapted.
        """
        return make_statistics(self._bundle, self._profile, emotion=emotion)

    def with_statistics(self, statistics: RunningStatistics) -> Scorer:
        """The same scorer, adapted to what is known of the source by now."""
        # A copy, since scorers are shared between the channels of a recording and between threads.
        other = copy(self)
        other._adaptation = make_adaptation(self._bundle, statistics)
        return other

    def label_scores(self, scores: Doubles | None) -> dict[str, float]:
        """Scores under their labels; empty for ``None``."""
        return {} if scores is None else dict(zip(self.names, scores.tolist(), strict=True))

    def name_values(self, values: Doubles | None) -> dict[str, float] | None:
        """Values under the names of their targets; ``None`` for ``None``, and of a model without targets."""
        if values is None or not self.spec.targets:
            return None
        return dict(zip(self.spec.target_names, values.tolist(), strict=True))

    def make_windower(self, window_s: float | None = None, hop_s: float | None = None) -> Windower:
        """Open a windower for this model; its own window and hop unless given.

        Raises:
            ConfigError: the window is too short or too long for the model, or longer hops than windows.
        """
        spec = self.spec
        window_s = spec.window_s if window_s is None else window_s
        hop_s = min(spec.hop_s, window_s) if hop_s is None else hop_s
        if not spec.min_s <= window_s <= spec.clip_s:
            raise ConfigError(
                f"window_s is {window_s}; model {spec.name!r} takes {spec.min_s:g} to {spec.clip_s:g} s"
            )
        if not MIN_HOP_S <= hop_s <= window_s:
            raise ConfigError(f"hop_s is {hop_s}; expected {MIN_HOP_S:g} s to window_s ({window_s:g} s)")
        return Windower(
            window=round(window_s * SAMPLE_RATE),
            hop=round(hop_s * SAMPLE_RATE),
            least=self.min_samples,
            confirm=self._detect_speech,
        )

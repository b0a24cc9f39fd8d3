"""What does a model say of one sound: in the labels of one call, and as it knows the voice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.bundles import Bundle
from emovox.errors import ConfigError
from emovox.inference.adaptation import Enrolment, Profile, enrolment_for, voice_of
from emovox.inference.windows import Cut, Cutter
from emovox.labels import canonical_all

__all__ = ["MIN_HOP_S", "MIN_SPEECH_SHARE", "Judge"]

MIN_SPEECH_SHARE = 0.1
"""A window with less speech (0.3 s of 3) is not judged: it holds the edge of a word, or a false alarm."""

MIN_HOP_S = 0.1
"""Shorter hops only repeat the same answer."""


class Judge:
    """A bundle, asked for some of its labels. Immutable.

    Args:
        bundle: an opened model.
        labels: names or aliases, also as ``"a,b"``; all of the model's when ``None``.
        profile: what is known of the voice that will be heard.

    Raises:
        LabelError: a label is unknown, or the model cannot answer it.
        ProfileError: the model cannot use the profile.
    """

    def __init__(
        self,
        bundle: Bundle,
        labels: Iterable[str] | str | None = None,
        profile: Profile | None = None,
    ) -> None:
        known = bundle.spec.labels
        self.spec = bundle.spec
        self.names = known if labels is None else canonical_all(labels, known)
        """Labels in the order of the scores."""
        self.min_samples = math.ceil(self.spec.min_s * SAMPLE_RATE)
        self._bundle = bundle
        self._columns = [known.index(name) for name in self.names]
        self._profile = profile
        self._voice = None if profile is None else voice_of(bundle, profile)

    def probabilities(self, logits: NDArray[Any]) -> Doubles:
        """Logits ``(..., n_labels)`` -> ``(..., len(names))`` float64, summing to 1 over the last axis."""
        z = logits[..., self._columns].astype(np.float64) / self.spec.temperature
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    def scores(self, sound: Floats) -> Doubles:
        """``(n,)`` -> ``(len(names),)``. One sound a run: its answer then depends on nothing but itself."""
        return self.heard_scores(self.heard_clip(sound))

    def window_scores(self, cut: Cut) -> Doubles | None:
        """The scores of a window, or ``None`` when it holds too little sound or speech."""
        heard = self.heard(cut)
        return None if heard is None else self.heard_scores(heard)

    def heard_clip(self, sound: Floats) -> Floats:
        """What the graph takes of a sound ``(n,)``."""
        return self._bundle.heard(sound)

    def heard(self, cut: Cut) -> Floats | None:
        """What the graph takes of a window, or ``None`` when it holds too little sound or speech."""
        if cut.sound is None or cut.speech < MIN_SPEECH_SHARE or len(cut.sound) < self.min_samples:
            return None
        return self._bundle.heard(cut.sound)

    def heard_scores(self, heard: Floats) -> Doubles:
        """The scores ``(len(names),)`` of what the graph takes."""
        return self.probabilities(self._bundle.answers([heard], self._voice)[0])

    def enrolment(self) -> Enrolment:
        """Where more can be learnt of the voice; it begins with what is known of it.

        Raises:
            ProfileError: the model cannot use a profile.
        """
        return enrolment_for(self._bundle, self._profile)

    def told(self, known: Enrolment) -> Judge:
        """The same judge, told what is known of the voice by now."""
        other = copy(self)
        other._voice = voice_of(self._bundle, known)
        return other

    def named(self, scores: Doubles | None) -> dict[str, float]:
        """Scores under their labels; empty for ``None``."""
        return {} if scores is None else dict(zip(self.names, scores.tolist(), strict=True))

    def cutter(self, window_s: float | None = None, hop_s: float | None = None) -> Cutter:
        """A cutter for windows this model can judge; its own window and hop unless given.

        Raises:
            ConfigError: the window is too short or too long for the model, or longer hops than windows.
        """
        spec = self.spec
        window_s = spec.window_s if window_s is None else window_s
        hop_s = min(spec.hop_s, window_s) if hop_s is None else hop_s
        if not spec.min_s <= window_s <= spec.clip_s:
            raise ConfigError(
                f"window_s is {window_s}; model {spec.name!r} judges {spec.min_s:g} to {spec.clip_s:g} s"
            )
        if not MIN_HOP_S <= hop_s <= window_s:
            raise ConfigError(f"hop_s is {hop_s}; expected {MIN_HOP_S:g} s to window_s ({window_s:g} s)")
        return Cutter(
            window=round(window_s * SAMPLE_RATE), hop=round(hop_s * SAMPLE_RATE), least=self.min_samples
        )

"""From a recording to what is to be told of it. Runs in a thread; knows nothing of Telegram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np

from emovox import audio
from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.inference.recognizer import Recognizer
from emovox.inference.stream import BLOCK_S
from emovox.results import Prediction, Segment

__all__ = ["LONG_S", "Heard", "judge"]

LONG_S = 30.0
"""A longer recording is answered with a timeline."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recording said: as a whole, when it is short, else along its time."""

    duration_s: float
    prediction: Prediction | None
    segments: Sequence[Segment] = ()

    @property
    def speech_s(self) -> float:
        """Seconds in the segments."""
        return sum(one.duration_s for one in self.segments)

    @property
    def scores(self) -> Mapping[str, float]:
        """Of a short recording its own, else the mean over the speech of the segments."""
        if self.prediction is not None:
            return self.prediction.scores
        total = self.speech_s
        names = self.segments[0].scores if self.segments else ()
        return {
            name: sum(one.duration_s * one.scores[name] for one in self.segments) / total for name in names
        }


def judge(model: Recognizer, file: BinaryIO, *, most_s: float) -> Heard:
    """Judge a recording, in memory that does not grow with its length.

    Raises:
        AudioTooLongError: it lasts longer than ``most_s``, whatever its header claims.
        AudioError: it is no sound that can be read or used.
    """
    file.seek(0)
    blocks = audio.blocks(file, block_s=BLOCK_S, max_s=most_s)
    kept: list[Floats] = []
    for block in blocks:
        kept.append(block[0])
        if sum(map(len, kept)) > LONG_S * SAMPLE_RATE:
            return _along(model, chain(kept, (block[0] for block in blocks)))
    sound = np.concatenate(kept)
    return Heard(len(sound) / SAMPLE_RATE, model.predict(sound, sample_rate=SAMPLE_RATE))


def _along(model: Recognizer, sounds: Iterable[Floats]) -> Heard:
    """The segments of a long recording that comes in pieces ``(n,)``."""
    stream, n, answers = model.stream(sample_rate=SAMPLE_RATE), 0, []
    for sound in sounds:
        n += len(sound)
        answers += stream.push(sound)
    answers += stream.flush()
    return Heard(n / SAMPLE_RATE, None, [one for one in answers if isinstance(one, Segment)])

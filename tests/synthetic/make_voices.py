"""Make synthetic test recordings with espeak-ng: one sentence in six manners, and a call of two voices.

    python tests/synthetic/make_voices.py          # requires the Debian/Ubuntu package espeak-ng

The voices are synthetic. Rate, pitch, range, loudness and effort of each manner follow what is commonly
reported for acted speech (anger: fast, loud, wide; sadness: slow, soft, low, narrow; and so on). They are no
evidence of how well a model predicts the emotion of real speech.
"""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

__all__ = ["MANNERS", "Manner", "call", "main", "speak"]

SAMPLE_RATE = 16_000
HERE = Path(__file__).parent
SENTENCE = "I will be at the station at nine this evening."


@dataclass(frozen=True, slots=True)
class Manner:
    """How a sentence is spoken."""

    voice: str
    words_per_min: int
    pitch: int
    """espeak-ng's scale, 0 to 99; 50 is the voice's own."""
    pitch_range: str
    """SSML: x-low, low, medium, high, x-high."""
    level_dbfs: float
    effort: float = 0.0
    """Drive into a soft limiter: raises the upper harmonics as a raised voice does."""
    tremor: float = 0.0
    """Depth of a 6 Hz tremble of the level, 0 to 1."""
    text: str = SENTENCE


MANNERS: dict[str, Manner] = {
    "neutral": Manner("en-us", 165, 45, "medium", -24),
    "angry": Manner("en-us+m3", 205, 62, "x-high", -13, effort=4.0),
    "sad": Manner("en-us+f2", 115, 28, "x-low", -32),
    "happy": Manner("en-us+f3", 190, 80, "x-high", -19, effort=0.8),
    "fearful": Manner("en-us+f4", 215, 92, "low", -25, tremor=0.45),
    "bored": Manner("en-us+m2", 112, 25, "x-low", -29),
}
"""File stem -> manner."""


def speak(manner: Manner) -> NDArray[np.float32]:
    """Mono speech, (n,) float32 at 16 kHz, with a quarter of a second of silence at both ends."""
    ssml = f'<speak><prosody range="{manner.pitch_range}">{manner.text}</prosody></speak>'
    options = ["-v", manner.voice, "-s", str(manner.words_per_min), "-p", str(manner.pitch)]
    wav = subprocess.run(
        ["espeak-ng", "-m", "-z", "--stdout", *options, ssml], check=True, capture_output=True
    )
    x, rate = soundfile.read(io.BytesIO(wav.stdout), dtype="float32")
    x = soxr.resample(x / np.abs(x).max(), rate, SAMPLE_RATE)
    if manner.effort:
        x = np.tanh(manner.effort * x)
    t = np.arange(x.size) / SAMPLE_RATE
    x = x * (1 - manner.tremor * (0.5 + 0.5 * np.sin(2 * np.pi * 6 * t)))
    x *= 10 ** (manner.level_dbfs / 20) / np.sqrt(np.mean(x**2))
    pause = np.zeros(SAMPLE_RATE // 4)
    return np.concatenate([pause, np.clip(x, -0.99, 0.99), pause]).astype(np.float32)


def call() -> NDArray[np.float32]:
    """A short call, (n, 2) float32: the agent in the left channel, an angry caller in the right."""
    agent = Manner("en-us", 165, 45, "medium", -24, text="Good morning. How can I help you today?")
    caller = Manner("en-us+f3", 200, 75, "x-high", -14, 4.0, text="I have been waiting for three weeks now!")
    closing = Manner("en-us", 150, 40, "low", -26, text="I am sorry to hear that. Let me have a look.")
    turns = [(0, speak(agent)), (1, speak(caller)), (0, speak(closing))]
    both = np.zeros((sum(x.size for _, x in turns), 2), np.float32)
    start = 0
    for side, x in turns:
        both[start : start + x.size, side] = x
        start += x.size
    return both


def main() -> None:
    """Write the recordings beside this script."""
    for stem, manner in MANNERS.items():
        soundfile.write(HERE / f"{stem}.flac", speak(manner), SAMPLE_RATE, subtype="PCM_16")
    soundfile.write(HERE / "call.ogg", call(), SAMPLE_RATE, format="OGG", subtype="VORBIS")


if __name__ == "__main__":
    main()

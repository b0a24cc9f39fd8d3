"""Sounds of the recipe default.py: clips, random changes, crops, and sounds that are not speech."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from emovox import audio
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import SpeechDetector
from emovox.augment import (
    G711,
    BandPass,
    MicrophoneResponse,
    Mp3,
    Noise,
    Opus,
    Room,
    TelephoneBand,
    mix_babble,
    mix_noise,
)
from emovox.datasets import scan
from emovox.inference.clip import cut_to_speech

__all__ = ["CHANGES", "Clip", "change_sound", "cut_clip", "list_clips", "make_sound", "synthesise"]

Sound = NDArray[np.float32]
Rng = np.random.Generator

CHANGES = ("clipping", "babble", "noise", "room", "amr", "g711", "codec", "loss", "speed", "microphone")
N_SYNTHETIC = 800
NOT_SPEECH = "none"
_SPEEDS = {"slow": 0.72, "fast": 1.4}
"""Passes over sounds that are not speech."""


@dataclass(frozen=True)
class Clip:
    """A clip of a corpus; ``emotion`` is ``none`` for a sound without speech."""

    id: str
    file: str
    corpus: str
    speaker: str
    emotion: str


def list_clips(root: Path, corpus: str) -> list[Clip]:
    """List the clips of one corpus below ``root``, in a fixed order."""
    if corpus == "synthetic":
        return [Clip(f"synthetic/{i:05d}", "", corpus, "synthetic", NOT_SPEECH) for i in range(N_SYNTHETIC)]
    if corpus not in ("ased", "emospeech", "esc10"):
        manifest, _ = scan(corpus, root / corpus)
        return [Clip(u.id, str(manifest.file(u)), corpus, u.speaker, u.emotion) for u in manifest]
    clips = []
    for file in sorted((root / corpus).glob("*/*.opus")):
        parts = file.stem.split("-")
        if corpus == "ased":  # 01Neutral/n1-sentence-repetition-sex-speaker
            emotion = {"01": "neutral", "02": "fear", "03": "happy", "04": "sad", "05": "angry"}[
                file.parent.name[:2]
            ]
            clips.append(Clip(f"ased/{file.stem}", str(file), corpus, f"ased-{parts[4]}", emotion))
        elif corpus == "esc10":
            clips.append(
                Clip(
                    f"esc10/{file.parent.name[:3]}/{file.stem}",
                    str(file),
                    corpus,
                    file.parent.name,
                    NOT_SPEECH,
                )
            )
        else:  # PLACE/keyword-environment-emotion-time-hash; places and days stand in for speakers
            known = {"calm": "neutral", "fearful": "fear", "angry": "angry", "happy": "happy"}
            emotion = NOT_SPEECH if parts[0] == "background" else known.get(parts[2], NOT_SPEECH)
            place = f"{file.parent.name}-{parts[3][:8]}"
            clips.append(Clip(f"emospeech/{file.parent.name}/{file.stem}", str(file), corpus, place, emotion))
    return clips


def make_sound(clip: Clip, name: str) -> Sound:
    """Make the sound of a clip in one of the passes, whole; the same in every run."""
    rng = np.random.default_rng([7, zlib.crc32(name.encode()), zlib.crc32(clip.id.encode())])
    if name == "synthetic":
        return synthesise(int(clip.id.split("/")[1]))
    x = audio.read(clip.file)
    if name == "changed":
        return change_sound(x, str(rng.choice(CHANGES)), rng)
    if name in _SPEEDS:
        return _play(x, _SPEEDS[name], "MQ")
    if name in _FIXED:
        return _FIXED[name](x, rng)
    if name == "crop":
        return _crop(x, rng)
    if name == "crop-none":
        n = int(rng.uniform(0.5, 3.0) * SAMPLE_RATE)
        start = int(rng.integers(0, max(1, len(x) - n + 1)))
        return x[start : start + n]
    return x


@cache
def list_noises(root: Path) -> dict[str, list[Clip]]:
    """List the sounds that are mixed with speech: of ESC-10, and background of emospeech."""
    return {c: [n for n in list_clips(root, c) if n.emotion == NOT_SPEECH] for c in ("esc10", "emospeech")}


def choose_noise(root: Path, clip: str) -> Clip:
    """Choose the sound that is mixed with a clip, by the clip's id; three quarters are of ESC-10."""
    rng = np.random.default_rng([13, zlib.crc32(clip.encode())])
    noises = list_noises(root)["esc10" if rng.random() < 0.75 else "emospeech"]
    return noises[int(rng.integers(len(noises)))]


def mix_sound(root: Path, clip: Clip) -> Sound:
    """Mix a clip, cut to speech, half of them in a room, with a sound that is not speech.

    So that background alone is no evidence against speech. Half of the clips are a word within 3 s of it.
    """
    rng = np.random.default_rng([17, zlib.crc32(clip.id.encode())])
    x = cut_clip(audio.read(clip.file))
    if is_word := rng.random() < 0.5:
        x = _crop(x, rng, 0.5, 1.5)
    if rng.random() < 0.5:
        x = Room((0.2, 0.8), (0.0, 10.0))(x, rng)
    n = max(len(x), 3 * SAMPLE_RATE if is_word else 0)
    noise = audio.read(choose_noise(root, clip.id).file)
    parts = [np.resize(np.roll(noise, -start), n) for start in rng.integers(0, len(noise), 8)]
    loudest = max(parts, key=lambda part: float((part.astype(np.float64) ** 2).sum()))
    start = int(rng.integers(0, n - len(x) + 1))
    y = np.zeros(n, np.float32)
    y[start : start + len(x)] = x
    gain_db = 10 * np.log10(n / len(x))  # the ratio is that within the word
    return mix_noise(y, loudest, rng.uniform(-5, 15) - gain_db).astype(np.float32)


def cut_clip(x: Sound) -> Sound:
    """Cut a clip to its speech and a margin, as `emovox.Recognizer.predict` does."""
    detector = SpeechDetector()
    return cut_to_speech(x, np.concatenate([detector.push(x), detector.flush()]))


def change_sound(x: Sound, change: str, rng: Rng) -> Sound:
    """Apply one of the `CHANGES` at a random strength."""
    x = x.astype(np.float32)
    if change == "clipping":
        return _clip(x, rng.uniform(6, 16))
    if change == "babble":
        return _babble(x, rng, 12.0, 25.0)
    if change == "noise":
        return Noise((12.0, 30.0), str(rng.choice(["white", "pink"])))(x, rng)
    if change == "room":
        return Room((0.2, 0.8), (0.0, 10.0))(x, rng)
    if change == "amr":  # a speech codec at about AMR's rates behind the band of a telephone
        return Opus((6.0, 10.0))(TelephoneBand()(_compress(x, rng) if rng.random() < 0.5 else x, rng), rng)
    if change == "g711":
        y = _compress(x, rng) if rng.random() < 0.5 else x * (0.5 / max(float(np.abs(x).max()), 1e-6))
        return G711(law=str(rng.choice(["mu", "a"])))(TelephoneBand()(y.astype(np.float32), rng), rng)
    if change == "codec":
        return (Mp3((8.0, 24.0)) if rng.random() < 0.5 else Opus((6.0, 16.0)))(x, rng)
    if change == "loss":
        return _lose_packets(x, rng)
    if change == "microphone":
        return MicrophoneResponse(9.0)(x, rng)
    return _play(x, rng.uniform(0.92, 1.08), "MQ")


def _babble(x: Sound, rng: Rng, low_db: float, high_db: float) -> Sound:
    """Add babble of the clip itself: other clips would bring test speakers into the training."""
    voices = [_play(x[::-1], speed, "LQ") for speed in rng.uniform(0.7, 1.4, 6)]
    return mix_noise(x, mix_babble(voices, len(x), rng), rng.uniform(low_db, high_db)).astype(np.float32)


def _clip(x: Sound, over_db: float) -> Sound:
    """Amplify the peak to ``over_db`` above full scale, and clip."""
    loud = x / max(float(np.abs(x).max()), 1e-6) * 10 ** (over_db / 20)
    return np.clip(loud, -1, 1).astype(np.float32)


_FIXED: dict[str, Callable[[Sound, Rng], Sound]] = {
    "clipping": lambda x, rng: _clip(x, 12.0),
    "telephone": lambda x, rng: G711()(TelephoneBand()(x, rng), rng),
    "babble": lambda x, rng: _babble(x, rng, 20.0, 20.0),
    "noise": lambda x, rng: mix_noise(x, rng.standard_normal(len(x)), 20.0).astype(np.float32),
}
"""Changes of one strength, to test with."""


def _play(x: Sound, speed: float, quality: str) -> Sound:
    return np.asarray(soxr.resample(x, SAMPLE_RATE * speed, SAMPLE_RATE, quality=quality), np.float32)


def _compress(x: Sound, rng: Rng) -> Sound:
    """Compress the dynamics 2:1 to 4:1 above 30 dB below the peak, by the level over 50 ms."""
    x = x / max(float(np.abs(x).max()), 1e-6)
    n = int(0.05 * SAMPLE_RATE)
    level = np.sqrt(np.convolve(x.astype(np.float64) ** 2, np.ones(n) / n, "same") + 1e-8)
    ratio, threshold = rng.uniform(2, 4), 10 ** (-30 / 20)
    y = x * np.where(level > threshold, (level / threshold) ** (1 / ratio - 1), 1.0)
    return (0.5 * y / max(float(np.abs(y).max()), 1e-6)).astype(np.float32)


def _lose_packets(x: Sound, rng: Rng, n: int = 320) -> Sound:
    """Lose 3 to 12 % of packets of 20 ms, in bursts; each is replaced by the packet before, fading."""
    y, share, run = x.copy(), rng.uniform(0.03, 0.12), 0
    for i in range(n, len(y) - n, n):
        if rng.random() < share or (run and rng.random() < 0.4):
            run += 1
            y[i : i + n] = y[i - n : i] * (0.5 if run > 1 else 0.9)
        else:
            run = 0
    return y


def _crop(x: Sound, rng: Rng, low_s: float = 1.0, high_s: float = 2.5) -> Sound:
    """``low_s`` to ``high_s``, the loudest of eight random places: so that it contains speech."""
    n = int(rng.uniform(low_s, high_s) * SAMPLE_RATE)
    if len(x) <= n:
        return x
    starts: Sequence[int] = rng.integers(0, len(x) - n + 1, 8).tolist()
    best = max(starts, key=lambda start: float((x[start : start + n].astype(np.float64) ** 2).sum()))
    return x[best : best + n]


# ---------------------------------------------------------------------------------------- not speech


def synthesise(number: int) -> Sound:
    """Make sound ``number`` of a fixed series: tones, hum, noise, dither, silence, clicks, music."""
    rng = np.random.default_rng([11, number])
    n = int(rng.choice([0.5, 1, 1.5, 2, 3, 4, 6]) * SAMPLE_RATE * rng.uniform(0.8, 1.2))
    rng.uniform()  # kept so that the series stays the one that was measured
    level = 10 * 10 ** (rng.uniform(-50, -1) / 20)  # also above full scale: the front end normalises it
    makers = (
        _tone,
        _hum,
        _noise,
        _dither,
        _zeros,
        _clicks,
        _chord,
        _sweep,
        _melody,
        _beeps,
        _tone_in_noise,
        _buzz,
    )
    maker = makers[number % len(makers)]
    y = maker(n, rng)
    if maker not in (_dither, _zeros):
        y = y / max(float(np.abs(y).max()), 1e-9) * level
        y = np.round(y * 32768) / 32768
    return y.astype(np.float32)


def _coloured(n: int, slope: float, rng: Rng) -> NDArray[np.float64]:
    hz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20.0)
    y = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * hz ** (-slope / 2), n)
    return np.asarray(y / np.abs(y).max())


def _tone(n: int, rng: Rng) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * 10 ** rng.uniform(1.7, 3.85) * _time(n))


def _hum(n: int, rng: Rng) -> NDArray[np.float64]:
    mains, t = rng.choice([50, 60]), _time(n)
    # The order in which numbers are drawn fixes the series.
    y = sum(
        rng.uniform(0, 1) / k ** rng.uniform(0.5, 1.5) * np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6))
        for k in range(1, int(rng.integers(2, 30)))
    )
    return np.asarray(y + rng.uniform(0, 0.2) * _coloured(n, rng.uniform(0, 2), rng))


def _noise(n: int, rng: Rng) -> NDArray[np.float64]:
    y = _coloured(n, rng.uniform(-1, 2.5), rng)
    if rng.random() < 0.3:
        y = y * (1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.2, 6) * _time(n)))
    if rng.random() < 0.3:
        low = rng.uniform(100, 1500)
        y = BandPass(float(low), float(low * rng.uniform(1.5, 4)))((0.3 * y).astype(np.float32), rng)
    return y


def _dither(n: int, rng: Rng) -> NDArray[np.float64]:
    return np.asarray(np.round((rng.random(n) - rng.random(n)) * rng.choice([0.6, 1, 2])) / 32768)


def _zeros(n: int, rng: Rng) -> NDArray[np.float64]:
    y = np.zeros(n, np.float32)
    if rng.random() < 0.4:
        y += rng.choice([1 / 32768, -1 / 32768, 0.01, 1e-7])
    if rng.random() < 0.2:
        y[int(rng.integers(n))] = rng.uniform(-1, 1)
    return y


def _clicks(n: int, rng: Rng) -> NDArray[np.float64]:
    y = np.zeros(n)
    for start in rng.integers(0, n, int(rng.integers(1, 40))):
        m = int(rng.integers(1, 400))
        click = rng.standard_normal(m) * np.exp(-np.arange(m) / rng.uniform(2, 120))
        y[start : start + m] += click[: len(y[start : start + m])]
    return np.asarray(y + rng.uniform(0, 0.01) * rng.standard_normal(n))


def _chord(n: int, rng: Rng, n_notes: int = 1) -> NDArray[np.float64]:
    y, m = np.zeros(n), n // n_notes
    t = _time(m)
    for j in range(n_notes):
        root = 110 * 2 ** (rng.integers(0, 36) / 12)
        for step in rng.choice([0, 3, 4, 5, 7, 9, 12, 16], int(rng.integers(1, 5)), replace=False):
            for h in range(1, int(rng.integers(2, 9))):
                wave = np.sin(2 * np.pi * root * 2 ** (step / 12) * h * t) / h ** rng.uniform(0.7, 2)
                y[j * m : (j + 1) * m] += wave * np.exp(-t * rng.uniform(0, 6))
    return y


def _melody(n: int, rng: Rng) -> NDArray[np.float64]:
    return _chord(n, rng, int(rng.integers(3, 14)))


def _sweep(n: int, rng: Rng) -> NDArray[np.float64]:
    hz = np.geomspace(rng.uniform(40, 400), rng.uniform(1000, 7500), n)
    return np.sin(2 * np.pi * np.cumsum(hz[:: int(rng.choice([-1, 1]))]) / SAMPLE_RATE)


def _beeps(n: int, rng: Rng) -> NDArray[np.float64]:
    square = np.sign(np.sin(2 * np.pi * rng.uniform(200, 3000) * _time(n))) ** int(rng.choice([1, 1]))
    return np.asarray(square * (np.sin(2 * np.pi * rng.uniform(0.5, 8) * _time(n)) > rng.uniform(-0.5, 0.5)))


def _tone_in_noise(n: int, rng: Rng) -> NDArray[np.float64]:
    tone = np.sin(2 * np.pi * 10 ** rng.uniform(1.8, 3.6) * _time(n))
    return np.asarray(tone + 10 ** (rng.uniform(-30, 10) / 20) * _coloured(n, rng.uniform(0, 2), rng))


def _buzz(n: int, rng: Rng) -> NDArray[np.float64]:
    """A harmonic sound with vibrato, as of an engine or an instrument."""
    t = _time(n)
    hz = rng.uniform(60, 400) * (1 + rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(2, 8) * t))
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    y = sum(np.sin(k * phase) / k ** rng.uniform(0.5, 2) for k in range(1, int(rng.integers(3, 20))))
    return np.asarray(y if rng.random() < 0.6 else y * (1 + np.sin(2 * np.pi * rng.uniform(0.5, 4) * t)))


def _time(n: int) -> NDArray[np.float64]:
    return np.arange(n) / SAMPLE_RATE

"""Hostile files: thousands of damaged recordings, read in a child process.

Each must be sound or an ``AudioError``. A native crash kills the child, which names the case; a case that
takes longer than 2 s fails. The seed is fixed: a failure comes back.
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

N_CASES = 2400
SEED = 20_261_120
LIMIT_S = 2.0
HEADER = 160
"""Bytes that count as header: most damage goes there."""


def sounds() -> dict[str, bytes]:
    """Name -> a sound file: what libsndfile writes and people send, FFmpeg's kinds where it is there."""
    import soundfile

    rng = np.random.default_rng(SEED)
    x = (0.3 * np.sin(np.arange(6000) / 9.0)[:, np.newaxis] + rng.normal(0, 0.02, (6000, 2))).astype(
        np.float32
    )
    kinds = [("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")]
    kinds += [
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
    ]
    kinds += [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")]
    kinds += [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16")]
    files = {}
    for kind, subtype in kinds:
        file = io.BytesIO()
        soundfile.write(file, x, 16_000, format=kind, subtype=subtype)
        files[f"{kind} {subtype}"] = file.getvalue()
    return files | media(x)


def media(x: np.ndarray) -> dict[str, bytes]:
    """Containers only PyAV reads; none where it is not installed."""
    try:
        import av
    except ImportError:
        return {}
    files = {}
    kinds = [
        ("ipod", "aac", 48_000),
        ("mp4", "aac", 44_100),
        ("adts", "aac", 44_100),
        ("webm", "libopus", 48_000),
    ]
    kinds += [("avi", "mp2", 44_100), ("mpegts", "mp2", 44_100)]
    if "libopencore_amrnb" in av.codecs_available:  # PyAV 19 has the decoder alone
        kinds += [("amr", "libopencore_amrnb", 8_000)]
    for kind, codec, rate in kinds:
        file = io.BytesIO()
        layout = "mono" if kind == "amr" else "stereo"
        with av.open(file, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            plane = np.ascontiguousarray(x.T if layout == "stereo" else x.T[:1])
            frame = av.AudioFrame.from_ndarray(plane, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            frames = av.AudioResampler(stream.codec_context.format, layout, rate).resample(frame)
            for packet in [p for f in frames for p in stream.encode(f)] + stream.encode(None):
                container.mux(packet)
        files[f"{kind} {codec}"] = file.getvalue()
    return files


INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01", b"\xff\xff", b"\x00\x00", b"\xff\xff\xff\xff")
INTERESTING += (b"\x00\x00\x00\x80", b"\x80\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(8))


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to eight wounds, three in four of them in the header."""
    wounded = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        size = max(len(wounded), 1)
        at = rng.randrange(min(HEADER, size)) if rng.random() < 0.75 else rng.randrange(size)
        what = rng.randrange(7)
        if what == 0:
            wounded[at : at + 1] = bytes([rng.randrange(256)])
        elif what == 1:
            value = rng.choice(INTERESTING)
            wounded[at : at + len(value)] = value
        elif what == 2 and at < len(wounded):
            wounded[at] ^= 1 << rng.randrange(8)
        elif what == 3:
            del wounded[at : at + rng.randint(1, 40)]
        elif what == 4:
            wounded[at:at] = rng.randbytes(rng.randint(1, 40))
        elif what == 5 and rng.random() < 0.3:
            del wounded[at:]
        elif what == 6 and rng.random() < 0.3:
            other = rng.choice(others)
            wounded[at:] = other[min(at, len(other)) :]
    return bytes(wounded)


def cases(n: int) -> list[tuple[str, bytes]]:
    """``(name, bytes)``, the same in every run."""
    files = sounds()
    names, rng = sorted(files), random.Random(SEED)
    others = [files[name] for name in names]
    drawn = [names[i % len(names)] for i in range(n)]
    return [(f"case {i} of {name}", mutated(files[name], rng, others)) for i, name in enumerate(drawn)]


def outcome(data: bytes) -> str:
    """``sound``, ``refused``, or what is wrong."""
    from emovox import audio
    from emovox.errors import AudioError

    try:
        audio.probe(data)
        x = audio.read(io.BytesIO(data))
    except AudioError as error:
        return "refused" if str(error) else "an error without a message"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if x.dtype != np.float32 or x.ndim != 1 or not len(x):
        return f"an answer of {x.dtype} {x.shape}"
    return "sound" if np.isfinite(x).all() and np.abs(x).max() <= 1 else "samples outside [-1, 1]"


def child(folder: Path) -> None:
    """Read every case; ``now`` holds the case at hand, for when this process dies."""
    with (folder / "stacks").open("w") as stacks:
        faulthandler.enable(stacks)
        tally: dict[str, int] = {}
        wrong = []
        slowest = (0.0, "")
        for name, data in cases(N_CASES):
            (folder / "now").write_text(name)
            start = time.monotonic()
            result = outcome(data)
            slowest = max(slowest, (time.monotonic() - start, name))
            tally[result] = tally.get(result, 0) + 1
            if result not in ("sound", "refused"):
                wrong.append(f"{name}: {result}")
        (folder / "result.json").write_text(json.dumps({"tally": tally, "wrong": wrong, "slowest": slowest}))


@pytest.mark.slow
def test_damaged_files_are_sound_or_an_audio_error(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        done = subprocess.run(
            [sys.executable, __file__, str(tmp_path)], stderr=stderr, stdout=stderr, timeout=120, check=False
        )
    now = (tmp_path / "now").read_text()
    assert done.returncode == 0, f"died ({done.returncode}) at {now}\n{(tmp_path / 'stacks').read_text()}"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["wrong"] == []
    assert result["slowest"][0] < LIMIT_S, result["slowest"]
    # The damage is real, and not so heavy that nothing gets past the first bytes.
    assert sum(result["tally"].values()) == N_CASES >= 2000
    assert min(result["tally"].get(kind, 0) for kind in ("sound", "refused")) > 0.15 * N_CASES


if __name__ == "__main__":
    child(Path(sys.argv[1]))

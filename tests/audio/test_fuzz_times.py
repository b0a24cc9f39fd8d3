"""Damaged containers: the end of a recording is where PyAV's time stamps say, or a warning says why not."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest

from emovox import audio
from emovox.errors import AudioError
from media_files import CONTAINERS, make_media

av: Any = pytest.importorskip("av")

N_CASES = 500


def end_by_pyav(data: bytes) -> float | None:
    """Where the last decoded frame ends, in seconds since a player's start; ``None`` without frames."""
    with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
        track = container.streams.audio[0]
        end_s, n = None, 0
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets, None)
            except Exception:
                break
            if packet is None:
                break
            try:
                frames = packet.decode()
            except Exception:
                continue
            for frame in frames:
                n += frame.samples
                if frame.pts is not None:
                    end_s = float(frame.pts * frame.time_base) + frame.samples / frame.sample_rate
                elif end_s is not None:
                    end_s += frame.samples / frame.sample_rate
        if not n:
            return None
        start_s = (container.start_time or 0) / 1e6
        zero_based = container.format.name.split(",")[0] in ("mov", "matroska")
        return n / track.rate if end_s is None else end_s - (0.0 if zero_based else start_s)


def mutate(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged))
        kind = rng.randrange(5)
        if kind == 0:
            damaged[at] = rng.randrange(256)
        elif kind == 1:
            damaged[at : at + 16] = rng.randbytes(16)
        elif kind == 2:
            del damaged[at : at + rng.randint(1, 400)]
        elif kind == 3 and rng.random() < 0.3:
            del damaged[at:]
        else:
            damaged[at:at] = rng.randbytes(rng.randint(1, 40))
        if not damaged:
            return data
    return bytes(damaged)


@pytest.mark.slow
def test_damaged_containers_keep_their_time() -> None:
    rng = random.Random(20261130)
    files = [
        make_media(container, codec, bursts)
        for container, codec in CONTAINERS
        for bursts in ([(0.0, 2.0)], [(0.0, 1.0), (3.0, 1.0)])
    ]
    wrong, n_read, n_refused = [], 0, 0
    for n in range(N_CASES):
        data = mutate(files[n % len(files)], rng)
        report = audio.ReadReport()
        try:
            x = np.concatenate(list(audio.blocks(data, report=report, max_s=60.0)), axis=1)[0]
        except AudioError:
            n_refused += 1
            continue
        n_read += 1
        try:
            truth = end_by_pyav(data)
        except Exception:
            truth = None
        if truth is not None and abs(len(x) / audio.SAMPLE_RATE - truth) > 0.1 and not report.warnings:
            wrong.append((n, CONTAINERS[n % len(files) // 2], len(x) / audio.SAMPLE_RATE, truth))
    assert wrong == []
    assert n_read > N_CASES / 3, (n_read, n_refused)

"""Containers with time stamps, made by PyAV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

__all__ = ["CONTAINERS", "make_media"]

CONTAINERS = (
    ("matroska", "libopus"),
    ("webm", "libopus"),
    ("mp4", "aac"),
    ("mov", "aac"),
    ("mpegts", "aac"),
    ("ogg", "libopus"),
)
"""Container and codec."""


def make_media(
    container: str,
    codec: str,
    bursts: Sequence[tuple[float, float]],
    *,
    video: bool = False,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """Bursts of a tone ``(start_s, duration_s)`` in a container; between them there are no packets.

    ``options`` are those of FFmpeg's muxer.
    """
    import av

    file = io.BytesIO()
    rate = 48_000
    with av.open(file, "w", format=container, options=dict(options or {})) as out:
        sound = out.add_stream(codec, rate=rate)
        sound.layout = "mono"
        picture = None
        if video:
            picture = out.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
        if picture is not None:
            end_s = max(start + length for start, length in bursts)
            for n in range(round(10 * end_s)):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts = n
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        form = {"aac": "fltp", "ac3": "fltp", "flac": "s16"}.get(codec, "flt")
        for start_s, length_s in bursts:
            for at in range(0, round(length_s * rate), 960):
                t = np.arange(at, at + 960) / rate
                x = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[np.newaxis]
                if form == "s16":
                    x = np.round(x * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(x, format=form, layout="mono")
                frame.sample_rate = rate
                frame.pts = round(start_s * rate) + at
                frame.time_base = Fraction(1, rate)
                out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return file.getvalue()

"""Write a tone as m4a with PyAV, and read it back with emovox: the installed PyAV is one that works."""

from __future__ import annotations

import io
import sys

import av
import numpy as np

from emovox import audio


def main() -> int:
    """Exit with 0 when the tone is 1 s long and as loud as it was."""
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        stream.layout = "mono"
        for start in range(0, len(tone), 1000):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1000], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    x = audio.read(file.getvalue())
    loudness = float(np.sqrt(np.mean(x**2)))
    print(f"PyAV {av.__version__}: {len(x) / 16_000:.2f} s, {loudness:.2f}")
    return 0 if abs(len(x) / 16_000 - 1) < 0.15 and abs(loudness - 0.354) < 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())

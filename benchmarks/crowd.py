"""The clients of `serve.py`, a process of their own: kind ones, and others.

    python benchmarks/crowd.py PORT CLIPS [--seconds 60] [--clients 16] [--rough]

Each client asks, waits for the answer and asks again, over a connection that it keeps if the server
does; which clips, its number decides. ``--rough``: of 16, two hang up midway, two are slow and two are
malicious. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["main"]

LIMIT_S = 180.0
OFTEN = {3: 6, 10: 3, 60: 1}
"""Seconds of a clip -> how often it is sent."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Seen:
    """What became of all requests."""

    answers_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Of the kind clients."""
    audio_s: int = 0
    said: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """Clip -> the answers that it had."""
    mischief: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    surprises: list[str] = field(default_factory=list)
    """What ought not to have happened."""


def main() -> None:
    """Ask for ``--seconds``, then print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rough", action="store_true")
    options = parser.parse_args()
    seen = Seen()
    start_s = time.perf_counter()
    asyncio.run(_everybody(options, seen))
    wall_s = time.perf_counter() - start_s
    latencies_ms = sorted(1000 * each for each in seen.answers_s) or [float("nan")]
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "answers": len(seen.answers_s),
                "audio_s": seen.audio_s,
                "latencies_ms": [round(each, 2) for each in latencies_ms],
                "statuses": seen.statuses,
                "clips_with_several_answers": sorted(c for c, said in seen.said.items() if len(said) > 1),
                "mischief": seen.mischief,
                "surprises": seen.surprises[:20],
                "cpu_s": time.process_time(),
            }
        )
    )


async def _everybody(options: argparse.Namespace, seen: Seen) -> None:
    clips = {file.name: file.read_bytes() for file in sorted(options.clips.iterdir())}
    end_s = time.perf_counter() + options.seconds
    others = {2: _who_hangs_up, 5: _who_hangs_up, 7: _who_is_slow, 10: _who_is_slow}
    others |= {12: _who_is_malicious, 15: _who_is_malicious}
    todo = []
    for number in range(options.clients):
        act = others.get(number % 16, _kind) if options.rough else _kind
        todo.append(_until(end_s, act, options.port, clips, random.Random(number), seen))
    await asyncio.gather(*todo)


async def _until(end_s: float, act, port: int, clips: dict[str, bytes], dice: random.Random, seen: Seen):
    while time.perf_counter() < end_s:
        try:
            await act(end_s, port, clips, dice, seen)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            seen.surprises.append(f"{act.__name__}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.1)


# ------------------------------------------------------------------------------------ kinds of clients


async def _kind(end_s: float, port: int, clips: dict[str, bytes], dice: random.Random, seen: Seen) -> None:
    async with _connected(port) as streams:
        while time.perf_counter() < end_s:
            name = _drawn(clips, dice)
            start_s = time.perf_counter()
            status, answer, stays = await _asked(streams, clips[name])
            seen.statuses[status] += 1
            if status == 200:
                seen.answers_s.append(time.perf_counter() - start_s)
                seen.audio_s += _seconds(name)
                seen.said[name].add(answer)
            elif status == 503:
                await asyncio.sleep(1)
            else:
                seen.surprises.append(f"{status} for {name}: {answer[:200]!r}")
            if not stays:
                return


async def _who_hangs_up(
    _: float, port: int, clips: dict[str, bytes], dice: random.Random, seen: Seen
) -> None:
    """Half of the body; or all of it, and no ear for the answer."""
    body = clips[_drawn(clips, dice)]
    async with _connected(port) as (_reader, writer):
        whole = dice.random() < 0.5
        writer.write(_head(len(body)) + (body if whole else body[: len(body) // 2]))
        await writer.drain()
        await asyncio.sleep(dice.uniform(0, 0.05))
        writer.transport.abort()
    seen.mischief["hung up"] += 1
    await asyncio.sleep(0.5)


async def _who_is_slow(_: float, port: int, clips: dict[str, bytes], dice: random.Random, seen: Seen) -> None:
    """The body in sixty pieces over three seconds, and the answer byte by byte."""
    body = clips[_drawn(clips, dice)]
    async with _connected(port) as (reader, writer):
        writer.write(_head(len(body)))
        size = len(body) // 60 + 1
        for at in range(0, len(body), size):
            writer.write(body[at : at + size])
            await writer.drain()
            await asyncio.sleep(0.05)
        line = b""
        while not line.endswith(b"\r\n"):
            line += await asyncio.wait_for(reader.readexactly(1), LIMIT_S)
            await asyncio.sleep(0.01)
        if line.split()[1] not in (b"200", b"503"):
            seen.surprises.append(f"slow: {line!r}")
    seen.mischief["slow"] += 1


async def _who_is_malicious(
    _: float, port: int, clips: dict[str, bytes], dice: random.Random, seen: Seen
) -> None:
    kind, (expected, request) = dice.choice(list(_mischief(clips["3s.wav"]).items()))
    async with _connected(port) as (reader, writer):
        writer.write(request)
        status, answer, _stays = await asyncio.wait_for(_answer(reader), LIMIT_S)
    seen.mischief[kind] += 1
    if status not in (expected, 503):
        seen.surprises.append(f"{kind}: {status}; expected {expected}: {answer[:200]!r}")
    elif status == 200 and json.loads(answer)["predictions"][0]["file"] not in (None, "x.wav"):
        seen.surprises.append(f"{kind}: {answer[:200]!r}")
    elif status != 200 and json.loads(answer)["error"]["message"] == "":
        seen.surprises.append(f"{kind}: no word of what was wrong")


_KEPT: dict[str, tuple[int, bytes]] = {}


def _mischief(clip: bytes) -> dict[str, tuple[int, bytes]]:
    """Kind -> (the status that it deserves, the request); made once."""
    if not _KEPT:
        import numpy as np
        import soundfile

        bomb, silence = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("clip.wav", bytes(100_000_000))
        soundfile.write(silence, np.zeros(16_000 * 1200, np.int16), 16_000, format="FLAC")
        huge = b"RIFF\xf0\xff\xff\xffWAVEfmt " + clip[16:40] + b"\xf0\xff\xff\xff" + clip[44:1000]
        _KEPT["zip bomb named .wav"] = 415, _form("bomb.wav", bomb.getvalue())
        _KEPT["a gigabyte declared"] = 413, _head(1_000_000_000)
        _KEPT["twenty minutes in few bytes"] = 413, _head(len(silence.getvalue())) + silence.getvalue()
        _KEPT["four gigabytes in a header"] = 200, _head(len(huge)) + huge  # too short to judge
        _KEPT["path for a name"] = 200, _form("../../../../etc/x.wav", clip)
        _KEPT["path of another system"] = 200, _form("C:\\Windows\\<b>\\x.wav", clip)
        _KEPT["no sound"] = 415, _head(5000) + random.Random(0).randbytes(5000)
        _KEPT["no form"] = 400, _form("x.wav", clip)[:-1000].replace(b"name=", b"nome=")
    return _KEPT


# ------------------------------------------------------------------------------------ HTTP


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _asked(streams: Streams, body: bytes) -> tuple[int, bytes, bool]:
    reader, writer = streams
    writer.write(_head(len(body)) + body)
    await writer.drain()
    return await asyncio.wait_for(_answer(reader), LIMIT_S)


def _head(n: int, content_type: str = "application/octet-stream") -> bytes:
    return (
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {n}\r\n\r\n"
    ).encode()


def _form(name: str, body: bytes) -> bytes:
    start = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    whole = start + body + b"\r\n--edge--\r\n"
    return _head(len(whole), "multipart/form-data; boundary=edge") + whole


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the server keeps the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    n = next(int(line.split(":")[1]) for line in head if line.startswith("content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(n), "connection: close" not in head


def _drawn(clips: dict[str, bytes], dice: random.Random) -> str:
    return dice.choices(list(clips), [OFTEN[_seconds(name)] for name in clips])[0]


def _seconds(name: str) -> int:
    return int(name.partition("s.")[0])


if __name__ == "__main__":
    sys.exit(main())

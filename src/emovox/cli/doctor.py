"""``emovox doctor``: report what is installed and which formats decode, and how to install the rest."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

import emovox
from emovox.cli.models import Form
from emovox.cli.terminal import can_say, clean, has_colours, pad, paint
from emovox.errors import EmovoxError, install_command

__all__ = ["DECODERS", "decoders", "doctor", "extras", "model_state"]

_OK = "ok"
_TONE_S = 0.5
_Encoder = Callable[[], bytes]


def doctor(
    format: Annotated[Form, typer.Option("--format", "-f", help="How the report is printed.")] = Form.table,
) -> int:
    """Report what is installed, what works, and how to install the rest.

    Each decoder is tried on a generated sound, and the default model predicts a second of it.

    Exit code: 0 when all that is installed works, 1 when something is broken. A missing extra is not broken.
    """
    report: dict[str, Any] = {
        "emovox": emovox.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
        "packages": {name: _find_version(name) for name in _requirements(None)},
        "extras": extras(),
        "decoders": decoders(),
        "model": model_state(),
    }
    typer.echo(json.dumps(report, ensure_ascii=False, indent=2) if format is Form.json else _format(report))
    tried = (*report["decoders"].values(), report["model"])
    return 1 if any(state.startswith("failed") for state in tried) else 0


# --- packages -----------------------------------------------------------------------------------


def extras() -> dict[str, dict[str, Any]]:
    """Return extra -> whether it is present, what is missing, and the command that installs it."""
    from importlib import metadata

    found: dict[str, dict[str, Any]] = {}
    for extra in metadata.metadata("emovox").get_all("Provides-Extra") or []:
        missing = sorted(name for name in set(_requirements(extra)) if _find_version(name) is None)
        found[extra] = {
            "present": not missing,
            "missing": missing,
            "install": install_command(extra),
        }
    return found


def _requirements(extra: str | None) -> Iterator[str]:
    """Yield the distributions that the core (``None``) or an extra requires, including extras of extras."""
    from importlib import metadata  # takes 10 ms, which other commands need not spend

    for requirement in metadata.requires("emovox") or []:
        wanted, _, condition = requirement.partition(";")
        of_extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", condition)
        if (of_extra.group(1) if of_extra else None) != extra:
            continue
        parts = re.match(r"\s*([\w.-]+)\s*(?:\[([^]]*)\])?", wanted)
        if parts and parts.group(1) == "emovox":
            for deeper in (parts.group(2) or "").split(","):
                yield from _requirements(deeper.strip())
        elif parts:
            yield parts.group(1)


def _find_version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# --- decoders: a tone is written in each format, and read by `emovox.audio` ----------------------


def decoders() -> dict[str, str]:
    """Return format -> ``ok``, the command that installs it, or ``failed: ...``."""
    return {name: _try_decoder(encode) for name, encode in DECODERS.items()}


def _try_decoder(encode: _Encoder) -> str:
    from emovox import audio

    try:
        sound = encode()
    except ImportError as error:
        return str(error)
    except Exception as error:
        return f"not tried, as it cannot be written here: {error}"
    try:
        n_samples = audio.read(sound).size
    except Exception as error:  # any exception of a decoder is the finding
        return f"failed: {error}"
    expected = round(_TONE_S * audio.SAMPLE_RATE)
    return (
        _OK
        if abs(n_samples - expected) < 0.2 * expected
        else f"failed: {n_samples} samples, expected {expected}"
    )


def _make_tone(sample_rate: int) -> Any:
    import numpy as np

    t = np.arange(round(_TONE_S * sample_rate)) / sample_rate
    return (0.25 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def _encode_by_soundfile(container: str, coding: str) -> _Encoder:
    def encode() -> bytes:
        import soundfile

        with io.BytesIO() as file:
            soundfile.write(file, _make_tone(16_000), 16_000, format=container, subtype=coding)
            return file.getvalue()

    return encode


def _encode_by_av(container: str, codec: str, sample_rate: int) -> _Encoder:
    def encode() -> bytes:
        av = _import_av()
        with io.BytesIO() as file:
            with av.open(file, "w", format=container) as output:
                stream = output.add_stream(codec, rate=sample_rate, layout="mono")
                frame = av.AudioFrame.from_ndarray(_make_tone(sample_rate)[None], format="flt", layout="mono")
                frame.sample_rate = sample_rate
                for packet in (*stream.encode(frame), *stream.encode(None)):
                    output.mux(packet)
            return file.getvalue()

    return encode


def _encode_amr() -> bytes:
    """Return silent AMR narrow-band frames of 20 ms: few builds of FFmpeg can encode AMR."""
    _import_av()
    return b"#!AMR\n" + (b"\x3c" + bytes(31)) * round(_TONE_S / 0.02)


def _import_av() -> Any:
    from emovox.errors import MissingExtraError

    try:
        import av
    except ImportError as error:
        raise MissingExtraError("reading this format", "media") from error
    return av


DECODERS: dict[str, _Encoder] = {
    "wav 16 bit": _encode_by_soundfile("WAV", "PCM_16"),
    "wav 24 bit": _encode_by_soundfile("WAV", "PCM_24"),
    "wav float": _encode_by_soundfile("WAV", "FLOAT"),
    "wav mu-law": _encode_by_soundfile("WAV", "ULAW"),
    "wav A-law": _encode_by_soundfile("WAV", "ALAW"),
    "flac": _encode_by_soundfile("FLAC", "PCM_16"),
    "mp3": _encode_by_soundfile("MP3", "MPEG_LAYER_III"),
    "ogg vorbis": _encode_by_soundfile("OGG", "VORBIS"),
    "ogg opus": _encode_by_soundfile("OGG", "OPUS"),
    "m4a, mp4 (aac)": _encode_by_av("ipod", "aac", 16_000),
    "aac": _encode_by_av("adts", "aac", 16_000),
    "webm (opus)": _encode_by_av("webm", "libopus", 48_000),
    "amr": _encode_amr,
}
"""Format -> function that encodes a short sound."""


# --- the model ----------------------------------------------------------------------------------


def model_state() -> str:
    """Return ``ok`` with the time that one second of sound took, or ``failed: ...``."""
    from emovox.inference.recognizer import load as load_model

    try:
        model = load_model(vad="off")
        start_s = time.perf_counter()
        model.predict(_make_tone(16_000).repeat(2), sample_rate=16_000)
    except EmovoxError as error:
        return f"failed: {error}"
    return f"{_OK}: {model.name}, {1000 * (time.perf_counter() - start_s):.0f} ms for a second of sound"


# --- the page -----------------------------------------------------------------------------------


def _format(report: dict[str, Any]) -> str:
    lines = [f"emovox {report['emovox']}, Python {report['python']}, {report['platform']}", ""]
    lines += [
        _format_row(version is not None, name, version or "missing")
        for name, version in report["packages"].items()
    ]
    lines += ["", "Extras"]
    for extra, state in report["extras"].items():
        text = (
            "present"
            if state["present"]
            else f"{state['install']}   (missing: {', '.join(state['missing'])})"
        )
        lines.append(_format_row(state["present"], extra, text))
    lines += ["", "Decoders, each tried on a generated sound"]
    lines += [_format_row(state == _OK, name, state) for name, state in report["decoders"].items()]
    lines += ["", "Default model", _format_row(report["model"].startswith(_OK), "predict", report["model"])]
    return "\n".join(lines)


def _format_row(good: bool, name: str, text: str) -> str:
    yes, no = ("✓", "✗") if can_say(sys.stdout, "✓✗") else ("+", "-")
    mark = paint(yes if good else no, "32" if good else "33", colours=has_colours(sys.stdout))
    return f"  {mark} {pad(name, 18)} {clean(text)}"

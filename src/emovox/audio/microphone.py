"""Record from a microphone, also when the device is unplugged and plugged in again.

::

    devices()        the microphones of this machine
    Recorder         one recording between start and stop
    Microphone       an endless stream of pieces; silence while the device is disconnected

Samples are 16 bit, as microphones deliver them, so that a file of them has exactly what was predicted.
Requires the extra ``mic``: sounddevice, which needs PortAudio.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.errors import MicrophoneError, MissingExtraError, did_you_mean

__all__ = ["RATE", "Capture", "Device", "Microphone", "Piece", "Recorder", "devices", "find"]

RATE = 48_000
"""Hz requested of a device; one that cannot has its own rate."""

_BLOCK_S = 0.05
"""Length of the requested blocks: short enough to be shown, long enough to be cheap."""

_Sound = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone."""

    number: int
    """Valid until a device is plugged in or out; the name stays."""
    name: str
    host: str
    """The sound system, such as ALSA, Core Audio or Windows WASAPI."""
    n_channels: int
    sample_rate: int
    """Hz, its own."""
    is_default: bool


def devices() -> list[Device]:
    """List the microphones, in the system's order.

    Raises:
        MissingExtraError: sounddevice is not installed.
        MicrophoneError: the library PortAudio, which sounddevice needs, is not installed.
    """
    library = _sounddevice()
    hosts = [host["name"] for host in library.query_hostapis()]
    default = library.default.device[0]
    return [
        Device(
            number,
            str(info["name"]),
            str(hosts[info["hostapi"]]),
            int(info["max_input_channels"]),
            round(info["default_samplerate"]),
            number == default,
        )
        for number, info in enumerate(library.query_devices())
        if info["max_input_channels"] > 0
    ]


def find(wanted: str | int | None = None) -> Device:
    """Find a device by its number, name or unambiguous part of its name; ``None``: the default.

    Raises:
        MicrophoneError: there is none, or several; the message names what there is.
        MissingExtraError: as `devices`.
    """
    known = devices()
    if not known:
        raise MicrophoneError("no microphone was found; plug one in, and see  emovox listen --devices")
    if wanted is None:
        return next((one for one in known if one.is_default), known[0])
    if isinstance(wanted, int) or wanted.isdecimal():
        found = [one for one in known if one.number == int(wanted)]
    else:
        name = wanted.casefold()
        found = [one for one in known if name == one.name.casefold()]
        found = found[:1] or [one for one in known if name in one.name.casefold()]
    if len(found) == 1:
        return found[0]
    raise MicrophoneError(_explain_choice(wanted, found, known))


def _explain_choice(wanted: str | int, found: list[Device], known: list[Device]) -> str:
    if found:
        names = ", ".join(f"{one.number} {one.name!r}" for one in found)
        return f"the microphone {wanted!r} may be any of {names}; give the number or the whole name"
    numbered = [f"{one.number} {one.name!r}" for one in known]
    hint = did_you_mean(wanted, [one.name for one in known], listed=numbered)
    return f"no microphone is called {wanted!r}; {hint}"


class Capture:
    """An open device: its first channel, block by block, until it is closed or disconnected.

    Raises:
        MicrophoneError: the device cannot be opened.
        MissingExtraError: as `devices`.
    """

    def __init__(self, device: Device, sample_rate: int) -> None:
        library = _sounddevice()
        self._blocks: queue.SimpleQueue[_Sound | None] = queue.SimpleQueue()
        self._is_open = True
        self.n_overflows = 0
        """Times that the computer was too busy, and sound was lost."""
        try:
            self._stream = library.InputStream(
                samplerate=sample_rate,
                blocksize=round(_BLOCK_S * sample_rate),
                device=device.number,
                channels=1,
                dtype="int16",
                latency="high",
                callback=self._receive,
                finished_callback=lambda: self._blocks.put(None),
            )
            self._stream.start()
        except (library.PortAudioError, ValueError) as error:
            raise MicrophoneError(
                f"the microphone {device.name!r} cannot be opened: {error}; is another program using it?"
            ) from error

    def _receive(self, block: _Sound, n: int, when: Any, status: Any) -> None:
        """Take a block; called by PortAudio's own thread."""
        self.n_overflows += bool(status and status.input_overflow)
        self._blocks.put(block[:, 0].copy())

    def read(self, wait_s: float) -> _Sound | None:
        """Return the sound since the last call, at least one block; empty after ``wait_s`` without any.

        ``None``: the device is gone, and all its sound was returned.
        """
        found: list[_Sound] = []
        while self._is_open:
            try:
                block = self._blocks.get(timeout=wait_s) if not found else self._blocks.get_nowait()
            except queue.Empty:
                break
            if block is None:
                self._is_open = False
            else:
                found.append(block)
        if not found and not self._is_open:
            return None
        return np.concatenate(found) if found else np.zeros(0, np.int16)

    def stop(self) -> None:
        """Stop a connected device; `read` returns the rest."""
        self._stream.stop(ignore_errors=True)

    def close(self) -> None:
        """Release the device, also one that is gone."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


class Recorder:
    """One recording between ``start`` and ``stop``.

    Raises:
        MicrophoneError: there is no such device.
        MissingExtraError: as `devices`.
    """

    def __init__(self, device: str | int | None = None) -> None:
        self._device = find(device)
        self.sample_rate = _supported_rate(self._device)
        self._capture: Capture | None = None

    def start(self) -> None:
        """Start to record. Raises MicrophoneError when the device cannot be opened."""
        self._capture = Capture(self._device, self.sample_rate)

    def stop(self) -> Floats:
        """Stop; return what was recorded: ``(n,)`` in [-1, 1]."""
        if self._capture is None:
            return np.zeros(0, np.float32)
        capture, self._capture = self._capture, None
        try:
            capture.stop()
            sound = capture.read(wait_s=0)
        finally:
            capture.close()
        return (np.zeros(0) if sound is None else sound / 32768).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The sound of a `Microphone` since its last piece."""

    sound: _Sound
    """``(n,)`` at the microphone's rate; n may be 0."""
    is_plugged: bool
    """Whether the device is connected; else the sound is silence, as long as the time that passed."""


class Microphone:
    """A stream of sound in pieces from a microphone, which is waited for when it is unplugged.

    The default device is looked up each time, another one by its name. Use it as a context manager::

        with Microphone() as microphone:
            for piece in microphone.pieces():
                ...

    Raises:
        MicrophoneError: there is no such device, or it cannot be opened.
        MissingExtraError: as `devices`.
    """

    FIRST_S = 3.0
    """A device without sound for so long after it was opened counts as gone;"""
    STALL_S = 1.0
    """one that had sound before, after this time."""
    TICK_S = 0.1
    """A piece is returned at least so often."""
    RETRY_S = 0.5
    """A device that is gone is looked for so often."""

    def __init__(self, device: str | int | None = None) -> None:
        found = find(device)
        self._wanted = None if device is None else found.name
        self.name = found.name
        self.sample_rate = _supported_rate(found)
        self._capture: Capture | None = Capture(found, self.sample_rate)
        self._timeout_s = self.FIRST_S
        self._n_overflows = 0

    @property
    def n_overflows(self) -> int:
        """Times that the computer was too busy, and sound was lost."""
        return self._n_overflows + (self._capture.n_overflows if self._capture else 0)

    def __enter__(self) -> Microphone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._n_overflows += self._capture.n_overflows
            self._capture.close()
            self._capture = None

    def pieces(self) -> Iterator[Piece]:
        """Yield sound as it comes, without end. Silence fills the time in which the device is gone, so that
        later sound is at its true time."""
        until_s = alive_s = tried_s = time.monotonic()  # of the sound so far, of the device, of the last try
        is_plugged = True
        while True:
            sound = self._read()
            now_s = time.monotonic()
            if sound is not None and sound.size:
                if not is_plugged:
                    yield self._silence(now_s - sound.size / self.sample_rate - until_s, is_plugged=True)
                until_s = alive_s = now_s
                is_plugged, self._timeout_s = True, self.STALL_S
                yield Piece(sound, True)
                continue
            if sound is None or now_s - alive_s > self._timeout_s:
                self.close()
                is_plugged = False
                if now_s - tried_s >= self.RETRY_S:
                    self._reopen()
                    alive_s = tried_s = time.monotonic()
            if is_plugged:
                yield self._silence(0.0, is_plugged=True)
            else:
                yield self._silence(now_s - until_s, is_plugged=False)
                until_s = now_s

    def _read(self) -> _Sound | None:
        """As `Capture.read`; ``None``, after a while, when there is no device."""
        if self._capture is None:
            time.sleep(self.TICK_S)
            return None
        return self._capture.read(self.TICK_S)

    def _reopen(self) -> None:
        library = _sounddevice()
        with _suppress_stderr():
            library._terminate()  # PortAudio notices new devices only when it is initialized
            library._initialize()
            try:
                self._capture = Capture(find(self._wanted), self.sample_rate)
            except MicrophoneError:
                return
        self._timeout_s = self.FIRST_S

    def _silence(self, seconds: float, *, is_plugged: bool) -> Piece:
        return Piece(np.zeros(max(0, round(seconds * self.sample_rate)), np.int16), is_plugged)


def _supported_rate(device: Device) -> int:
    library = _sounddevice()
    try:
        library.check_input_settings(device=device.number, channels=1, dtype="int16", samplerate=RATE)
    except (library.PortAudioError, ValueError):
        return device.sample_rate
    return RATE


@contextmanager
def _suppress_stderr() -> Iterator[None]:
    """Suppress stderr, where PortAudio and ALSA write a dozen lines per try about a missing device."""
    before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtraError("recording from a microphone", "mic") from error
    except OSError as error:
        raise MicrophoneError(
            "sounddevice is installed, but the system's library PortAudio is not: run  apt-get install "
            "libportaudio2  (Debian, Ubuntu), dnf install portaudio (Fedora), brew install portaudio (macOS)"
        ) from error
    return sounddevice

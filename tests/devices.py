"""Microphones for tests: one in place of the library, and a virtual one of PulseAudio's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FakeLibrary(ModuleType):
    """Stands for sounddevice: a microphone hears ``sound`` over and over, and can be unplugged.

    Args:
        speed: how much faster than real time it hears.
    """

    PortAudioError = RuntimeError

    def __init__(self, sound: NDArray[np.int16], *, speed: float = 1.0, names: tuple[str, ...] = ("mic",)):
        super().__init__("sounddevice")
        self.sound, self.speed, self.names = sound, speed, names
        self.is_plugged, self.is_stuck, self.own_rate = True, False, 48_000
        self.n_opened = 0
        self.default = SimpleNamespace(device=(0, 0))

    def query_devices(self) -> list[dict[str, Any]]:
        fields = {"hostapi": 0, "max_input_channels": 2, "default_samplerate": float(self.own_rate)}
        loudspeaker = {**fields, "name": "loudspeaker", "max_input_channels": 0}
        return [*({**fields, "name": name} for name in self.names if self.is_plugged), loudspeaker]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Fake"}]

    def check_input_settings(self, *, samplerate: int, **_: Any) -> None:
        if samplerate > self.own_rate:
            raise self.PortAudioError("rate")

    def _initialize(self) -> None: ...

    def _terminate(self) -> None: ...

    def InputStream(self, **told: Any) -> _FakeStream:
        if not self.is_plugged:
            raise self.PortAudioError("no device")
        self.n_opened += 1
        return _FakeStream(self, **told)


class _FakeStream:
    def __init__(
        self,
        library: FakeLibrary,
        *,
        samplerate: int,
        blocksize: int,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        **_: Any,
    ) -> None:
        self._library, self._size, self._wait_s = library, blocksize, blocksize / samplerate / library.speed
        self._callback, self._finished = callback, finished_callback
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        sound, at = self._library.sound, 0
        due_s = time.monotonic()
        while self._library.is_plugged and not self._over.is_set():
            if not self._library.is_stuck:
                block = np.take(sound, range(at, at + self._size), mode="wrap")[:, np.newaxis]
                self._callback(block, self._size, None, SimpleNamespace(input_overflow=False))
                at += self._size
            due_s += self._wait_s
            self._over.wait(max(0.0, due_s - time.monotonic()))
        self._finished()

    def start(self) -> None:
        self._thread.start()

    def stop(self, ignore_errors: bool = True) -> None:
        self._over.set()
        self._thread.join()

    abort = stop

    def close(self, ignore_errors: bool = True) -> None:
        self.stop()


class Pulse:
    """A sound server of one's own, whose only microphone hears what is played on it."""

    @staticmethod
    def is_here() -> bool:
        """Whether its programs are installed."""
        return all(shutil.which(tool) for tool in ("pulseaudio", "pactl", "paplay"))

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="pulse"))  # short: a socket's path may not be long
        self.env = os.environ | dict.fromkeys(
            ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH"), str(self._home)
        )
        modules = ("-L", "module-native-protocol-unix")
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", *modules],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + 10
        while self._run("pactl", "info").returncode:
            assert time.monotonic() < deadline_s, "the sound server does not start"
            time.sleep(0.1)
        self.plug()

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=20, check=False)

    def plug(self) -> None:
        """Plug the microphone in; it is the system's default."""
        sink = ("sink_name=voice", "rate=48000", "channels=1", "format=s16le")
        assert not self._run("pactl", "load-module", "module-null-sink", *sink).returncode
        assert not self._run("pactl", "set-default-source", "voice.monitor").returncode

    def unplug(self) -> None:
        """Pull it out; whoever listens to it is cut off."""
        assert not self._run("pactl", "unload-module", "module-null-sink").returncode

    def play(self, file: Path) -> subprocess.Popen[bytes]:
        """Speak into it."""
        return subprocess.Popen(["paplay", "--device=voice", str(file)], env=self.env)

    def close(self) -> None:
        """End the server."""
        self._daemon.terminate()
        self._daemon.wait(10)
        shutil.rmtree(self._home)

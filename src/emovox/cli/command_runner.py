"""Run a user's command for every event, without a shell and without holding up the listener."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from emovox.cli.terminal import say
from emovox.errors import ConfigError

__all__ = ["CommandRunner", "parse_command"]

MAX_WAITING = 32
"""Events that wait for the command; further ones are dropped and reported."""

MAX_RUN_S = 60.0
"""A command that takes longer is killed."""

MAX_CLOSE_S = 5.0
"""Time for the events that wait when listening ends."""


def parse_command(text: str) -> list[str]:
    """Split a command into its words, as a shell would, and find its program.

    Raises:
        ConfigError: there is none, or it is not installed.
    """
    try:
        words = shlex.split(text, posix=os.name == "posix")
    except ValueError as error:
        raise ConfigError(f"--run {text!r} cannot be split into words: {error}") from None
    program = shutil.which(words[0]) if words else None
    if program is None:
        name = repr(words[0]) if words else "nothing"
        raise ConfigError(
            f"--run names {name}, which is not an installed program; expected a program and its arguments "
            "(no shell reads them: write --run 'sh script.sh' for one)"
        )
    return [program, *words[1:]]


class CommandRunner:
    """Runs a command once for each event, one after the other, in a thread.

    The event is on the command's standard input as a line of JSON, and in the environment as ``EMOVOX_RULE``,
    ``EMOVOX_LABEL``, ``EMOVOX_STATE``, ``EMOVOX_AT_S`` and ``EMOVOX_SCORE``. What it prints goes to stderr.

    Args:
        command: a program and its arguments.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(MAX_WAITING)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="emovox-run", daemon=True)
        self._thread.start()

    def put(self, event: dict[str, Any]) -> None:
        """Take an event; returns at once."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            say(f"--run is too slow: {MAX_WAITING} events wait, and one of {event['rule']} was dropped")

    def close(self) -> None:
        """Run what waits, for a few seconds; then end the command."""
        end_s = time.monotonic() + MAX_CLOSE_S
        with suppress(queue.Full):
            self._waiting.put(None, timeout=MAX_CLOSE_S)
        self._thread.join(max(0.0, end_s - time.monotonic()))
        self._is_closing.set()
        if self._thread.is_alive() and self._process is not None:
            say("--run has not ended and is killed; events that waited for it are lost")
            self._process.kill()
        self._thread.join(1.0)

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None and not self._is_closing.is_set():
            try:
                self._run(event)
            except OSError as error:
                say(f"--run failed: {error.strerror or error}")

    def _run(self, event: dict[str, Any]) -> None:
        names = ("rule", "label", "state", "at_s", "score")
        environment = {f"EMOVOX_{name.upper()}": str(event[name]) for name in names}
        with subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=sys.__stderr__,  # ours may be JSON lines
            env=os.environ | environment,
        ) as self._process:
            try:
                self._process.communicate(json.dumps(event).encode() + b"\n", timeout=MAX_RUN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                say(f"--run took longer than {MAX_RUN_S:g} s and was killed")
                return
        if self._process.returncode:
            say(f"--run ended with exit code {self._process.returncode}")

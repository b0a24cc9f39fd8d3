"""``emovox listen``: the expressed emotion of live sound from a microphone."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.options import Labels, ModelName, OnOff, Vad
from emovox.cli.outputs import check_new
from emovox.cli.predict import load_profile
from emovox.cli.terminal import clean, say
from emovox.errors import ConfigError, EmovoxError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emovox.audio.microphone import Microphone
    from emovox.cli.command_runner import CommandRunner
    from emovox.cli.live import View
    from emovox.inference.stream import Stream
    from emovox.inference.triggers import Triggers
    from emovox.results import Segment, Window

__all__ = ["listen"]


def listen(
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, metavar="S", help="End after this time.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME|N", help="Which microphone; else the system's default."),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the microphones, and end.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line: windows, segments.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Record the sound, .wav or .flac.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --save replace an existing file.")] = False,
    labels: Labels = None,
    model: ModelName = "default",
    vad: Vad = OnOff.on,
    window_s: Annotated[
        float | None, typer.Option("--window-s", min=0.1, metavar="S", help="Seconds of a window.")
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", min=0.1, metavar="S", help="Seconds between windows.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="The speaker: a file of `emovox enroll`."),
    ] = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Adapt to the speaker as it goes.")] = False,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="RULE", help="Report when a score stays high: angry>0.8:2s. Repeatable."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="CMD", help="Run a program for each event of --on, without a shell."),
    ] = None,
) -> int:
    """Predict the expressed emotion of live sound from a microphone.

    Ctrl-C ends it; the last segment is still predicted. A microphone that is disconnected is waited for.
    Needs the extra mic.

    Exit code: 0 when it ran to the end, 2 when the request cannot be met.
    """
    from emovox.audio.microphone import Microphone
    from emovox.cli.command_runner import CommandRunner, parse_command
    from emovox.cli.live import JsonView, TableView
    from emovox.inference.recognizer import load
    from emovox.inference.triggers import Triggers

    if devices:
        return _list_devices()
    if save is not None:
        if save.suffix.lower() not in (".wav", ".flac"):
            raise typer.BadParameter(f"--save {str(save)!r}: expected a name that ends with .wav or .flac")
        check_new(save, force=force, option="--save")
    options = PredictOptions(
        labels=labels,
        vad=vad.value,
        profile=load_profile(profile),
        window_s=window_s,
        hop_s=hop_s,
        adapt=adapt,
    )
    recognizer = load(model)
    options = recognizer.check(options)  # a wrong option is refused before the microphone is opened
    triggers = Triggers(on or (), tuple(options.labels or ()))
    if run is not None and not on:
        raise ConfigError("--run needs a rule; name one with --on, such as --on 'angry>0.8:2s'")
    command = None if run is None else parse_command(run)
    with ExitStack() as stack:
        microphone = stack.enter_context(Microphone(device))
        if sys.stdout is None:
            raise EmovoxError("standard output is closed; there is nowhere to write results")
        names = tuple(options.labels or ()), recognizer.targets
        view: View = JsonView(sys.stdout) if json else TableView(sys.stdout, *names)
        stack.callback(view.end)
        say(f"listening to {microphone.name}, {microphone.sample_rate} Hz")
        stream = recognizer.open_stream(options, sample_rate=microphone.sample_rate)
        file = None if save is None else _SoundFile(save, microphone.sample_rate, force=force)
        runner = None if command is None else CommandRunner(command)
        if runner is not None:
            stack.callback(runner.close)
        _run(microphone, stream, _Reporter(view, triggers, runner), file, seconds)
        if microphone.n_overflows:
            say(f"the computer was too busy {microphone.n_overflows} times, and sound was lost")
    return 0


class _Reporter:
    """Shows results, and the events that the rules find in them; runs the command for events."""

    def __init__(self, view: View, triggers: Triggers, runner: CommandRunner | None) -> None:
        self.view = view
        self._triggers, self._runner = triggers, runner

    def show(self, results: list[Window | Segment], *, is_last: bool = False) -> None:
        """Show what a stream returned, the last of it with ``is_last``."""
        for result in results:
            self.view.show(result)
        events = self._triggers.push(results)
        for event in events + (self._triggers.flush() if is_last else []):
            self.view.report_event(event)
            if self._runner is not None:
                self._runner.put(event.to_dict())


def _run(
    microphone: Microphone,
    stream: Stream,
    reporter: _Reporter,
    file: _SoundFile | None,
    seconds: float | None,
) -> None:
    """Push the microphone's sound through the stream until the time is over or a signal ends it."""
    rate = microphone.sample_rate
    n, n_max = 0, math.inf if seconds is None else round(seconds * rate)
    is_connected = True
    try:
        with _catch_signals() as stopped:
            for piece in microphone.pieces():
                if piece.is_plugged is not is_connected:
                    is_connected = piece.is_plugged
                    reporter.view.report_device(is_connected, n / rate)
                sound = piece.sound[: int(min(len(piece.sound), n_max - n))]
                n += len(sound)
                if file is not None:
                    file.write(sound)
                reporter.show(stream.push(sound))
                state = "listening" if is_connected else "waiting for the microphone"
                reporter.view.show_level(n / rate, _level_dbfs(sound), state)
                if n >= n_max or stopped():
                    break
    finally:
        if file is not None:
            file.close()
        reporter.show(stream.flush(), is_last=True)


@contextmanager
def _catch_signals() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C, and the signal that ends a service, end the loop in order: the function says whether.

    A second one interrupts at once. Outside of the main thread no signal arrives.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return

    def handle(number: int, _: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _level_dbfs(sound: NDArray[Any]) -> float | None:
    """Of 16-bit samples ``(n,)``; ``None`` for silence."""
    power = float((sound.astype("float64") ** 2).mean()) / 2**30 if len(sound) else 0.0
    return 10 * math.log10(power) if power else None


def _list_devices() -> int:
    from emovox.audio.microphone import devices

    found = devices()
    if not found:
        say("no microphone was found, or the sound system shows none to this user")
    for one in found:
        mark = "*" if one.is_default else " "
        typer.echo(f"{mark} {one.number:>3}  {clean(one.name)}  ({clean(one.host)}, {one.sample_rate} Hz)")
    return 0


class _SoundFile:
    """A file of 16-bit samples that is being written.

    Raises:
        EmovoxError: it cannot be, or exists and may not be replaced.
    """

    def __init__(self, path: Path, sample_rate: int, *, force: bool) -> None:
        import soundfile

        self._path, self._error = path, soundfile.SoundFileError
        try:
            self._file = soundfile.SoundFile(path, "w" if force else "x", sample_rate, 1, "PCM_16")
        except (soundfile.SoundFileError, OSError) as error:
            raise EmovoxError(f"{str(path)!r} cannot be written: {error}") from error

    def write(self, sound: NDArray[Any]) -> None:
        try:
            self._file.write(sound)
        except self._error as error:
            raise EmovoxError(f"{str(self._path)!r} cannot be written any more: {error}") from error

    def close(self) -> None:
        self._file.close()

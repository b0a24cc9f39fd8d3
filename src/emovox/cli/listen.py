"""``emovox listen``: the expressed emotion of what a microphone hears, while it is heard."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.outputs import check_new
from emovox.cli.predict import Switch
from emovox.cli.terminal import clean, say
from emovox.errors import EmovoxError
from emovox.labels import canonical_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emovox.audio.microphone import Microphone, Piece
    from emovox.cli.live import View
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer
    from emovox.results import Segment, Window

__all__ = ["listen"]

_SUFFIXES = (".wav", ".flac")
_LONGEST_TAKE_S = 600.0


def listen(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, metavar="S", help="End after this time; a take, after its own."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME|N", help="Which microphone; else the system's default."),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the microphones, and end.")] = False,
    push_to_talk: Annotated[
        bool, typer.Option("--push-to-talk", help="Space or Enter begins a take and ends it; q ends.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line: windows, segments.")] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Keep the sound, .wav or .flac; each take is numbered."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --save replace a file that exists.")] = False,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B", help="Decide among these labels only.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
    ] = "default",
    vad: Annotated[Switch, typer.Option("--vad", help="Voice activity detection.")] = Switch.on,
    window_s: Annotated[
        float | None, typer.Option("--window-s", min=0.1, metavar="S", help="Seconds judged at once.")
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", min=0.1, metavar="S", help="Seconds between judgements.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Whose voice it is: what `emovox enroll` wrote."),
    ] = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Learn the voice as it goes.")] = False,
) -> int:
    """Listen to a microphone and say which emotion the voice expresses, as it speaks.

    Ctrl-C ends it; what was said last is judged still. A microphone that is unplugged is waited for.
    Needs the extra mic.

    Exit code: 0 when it listened to the end, 2 when the request cannot be met.
    """
    from emovox.audio.microphone import Microphone
    from emovox.bundles import registry

    if devices:
        return _list_devices()
    if push_to_talk and adapt:
        raise typer.BadParameter("--adapt learns along one stream; with --push-to-talk give a --profile")
    _check_file(save, force=force, takes=push_to_talk)
    recognizer = registry.load(model, vad=vad.value)
    request = _Request(
        None if labels is None else canonical_all(labels, recognizer.labels),
        window_s,
        hop_s,
        _profile(profile),
        adapt,
    )
    request.stream(recognizer, SAMPLE_RATE)  # what cannot be is refused before the microphone is opened
    with ExitStack() as stack:
        microphone = stack.enter_context(Microphone(device))
        view = _view(recognizer, request, json=json, takes=push_to_talk)
        stack.callback(view.end)
        ear = _Ear(recognizer, request, microphone, view)
        say(f"listening to {microphone.name}, {microphone.sample_rate} Hz")
        if push_to_talk:
            _listen_in_takes(ear, save, seconds or _LONGEST_TAKE_S)
        else:
            _listen_on(ear, save, seconds, force=force)
        if microphone.n_overflows:
            say(f"the computer was too busy {microphone.n_overflows} times, and sound was lost")
    return 0


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of the sound."""

    labels: tuple[str, ...] | None
    window_s: float | None
    hop_s: float | None
    profile: Profile | None
    adapt: bool

    def stream(self, recognizer: Recognizer, sample_rate: int) -> Any:
        return recognizer.stream(
            sample_rate=sample_rate,
            window_s=self.window_s,
            hop_s=self.hop_s,
            labels=self.labels,
            profile=self.profile,
            adapt=self.adapt,
        )


class _Ear:
    """What the microphone gives, and whether it is there, until somebody asks for the end."""

    def __init__(self, recognizer: Recognizer, request: _Request, microphone: Microphone, view: View) -> None:
        self.recognizer, self.request = recognizer, request
        self.sample_rate, self._microphone, self.view = microphone.sample_rate, microphone, view
        self._n = 0
        self._is_plugged = True

    def pieces(self, stopped: Callable[[], bool]) -> Iterator[Piece]:
        """Pieces of sound; the view hears when the microphone goes and comes."""
        for piece in self._microphone.pieces():
            if piece.is_plugged is not self._is_plugged:
                self._is_plugged = piece.is_plugged
                self.view.plugged(piece.is_plugged, self._n / self.sample_rate)
            self._n += len(piece.sound)
            yield piece
            if stopped():
                return


class _Take:
    """Sound from a beginning to an end: kept in a file if wanted, judged as it comes.

    Args:
        longest_s: what comes later is not heard any more.
    """

    def __init__(self, ear: _Ear, file: Path | None, longest_s: float, *, force: bool = False) -> None:
        self._ear = ear
        self._stream = ear.request.stream(ear.recognizer, ear.sample_rate)
        self._file = None if file is None else _File(file, ear.sample_rate, force=force)
        self._most = math.inf if longest_s == math.inf else round(longest_s * ear.sample_rate)
        self._n = 0

    @property
    def is_full(self) -> bool:
        return self._n >= self._most

    def push(self, piece: Piece) -> NDArray[Any]:
        """Take a piece; give what of it was still heard."""
        sound = piece.sound[: int(min(len(piece.sound), self._most - self._n))]
        self._n += len(sound)
        if self._file is not None:
            self._file.write(sound)
        self._show(self._stream.push(sound))
        state = "listening" if piece.is_plugged else "waiting for the microphone"
        self._ear.view.at(self._n / self._ear.sample_rate, _level_dbfs(sound), state)
        return sound

    def end(self) -> None:
        """Close the file, and judge what is left."""
        if self._file is not None:
            self._file.close()
        self._show(self._stream.flush())

    def _show(self, answers: list[Window | Segment]) -> None:
        for answer in answers:
            self._ear.view.answer(answer)


def _listen_on(ear: _Ear, file: Path | None, seconds: float | None, *, force: bool) -> None:
    """One stream, to the end."""
    from emovox.cli.keys import stoppable

    take = _Take(ear, file, seconds or math.inf, force=force)
    try:
        with stoppable() as stopped:
            for piece in ear.pieces(stopped):
                take.push(piece)
                if take.is_full:
                    break
    finally:
        take.end()


def _listen_in_takes(ear: _Ear, file: Path | None, longest_s: float) -> None:
    """A stream and an answer for each take; what is said between them is not kept."""
    from emovox.cli.keys import pressed_keys, stoppable

    with stoppable() as stopped, pressed_keys() as pressed:
        pieces = ear.pieces(stopped)
        while _wait_for_talk(ear, pieces, pressed):
            take = _Take(ear, _numbered(file), longest_s)
            parts: list[NDArray[Any]] = []
            keys: list[str] = []
            try:
                for piece in pieces:
                    parts.append(take.push(piece))
                    keys = pressed()
                    if keys or take.is_full:
                        break
            finally:
                take.end()
            _judge(ear, parts)
            if "q" in keys:
                return


def _wait_for_talk(ear: _Ear, pieces: Iterator[Piece], pressed: Callable[[], list[str]]) -> bool:
    """Whether a take begins; else it is over."""
    for piece in pieces:
        keys = pressed()
        if keys:
            return "q" not in keys
        ear.view.at(0.0, _level_dbfs(piece.sound), "Space or Enter begins a take, q ends")
    return False


def _judge(ear: _Ear, parts: list[NDArray[Any]]) -> None:
    """The answer to a whole take, unless it is empty."""
    import numpy as np

    sound = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if sound.size:
        request = ear.request
        ear.view.answer(
            ear.recognizer.predict(
                sound, sample_rate=ear.sample_rate, labels=request.labels, profile=request.profile
            )
        )


def _level_dbfs(sound: NDArray[Any]) -> float | None:
    """Of 16-bit samples ``(n,)``; ``None`` for silence."""
    power = float((sound.astype("float64") ** 2).mean()) / 2**30 if len(sound) else 0.0
    return 10 * math.log10(power) if power else None


# --- what was typed -------------------------------------------------------------------------------


def _view(recognizer: Recognizer, request: _Request, *, json: bool, takes: bool) -> View:
    from emovox.cli.live import JsonView, TableView

    if sys.stdout is None:
        raise EmovoxError("standard output is closed; there is nowhere to answer")
    if json:
        return JsonView(sys.stdout)
    return TableView(sys.stdout, request.labels or recognizer.labels, takes=takes)


def _profile(file: Path | None) -> Profile | None:
    if file is None:
        return None
    from emovox.inference.adaptation import Profile

    return Profile.load(file)


def _list_devices() -> int:
    from emovox.audio.microphone import devices

    found = devices()
    if not found:
        say("no microphone is here, or the sound system does not show one to this user")
    for one in found:
        mark = "*" if one.is_default else " "
        typer.echo(f"{mark} {one.number:>3}  {clean(one.name)}  ({clean(one.host)}, {one.sample_rate} Hz)")
    return 0


def _check_file(file: Path | None, *, force: bool, takes: bool) -> None:
    """Refuse, before anything is heard, a file that cannot be made or would be lost."""
    if file is None:
        return
    if file.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"--save {str(file)!r}: expected a name that ends with .wav or .flac")
    check_new(file, force=force or takes, option="--save")


def _numbered(file: Path | None) -> Path | None:
    """The next name beside ``file`` that is free: ``name-1.wav``, ``name-2.wav``."""
    if file is None:
        return None
    names = (file.with_stem(f"{file.stem}-{n}") for n in count(1))
    return next(name for name in names if not name.exists())


class _File:
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

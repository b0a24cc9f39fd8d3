"""``emovox data record``: record a corpus of your own, prompt by prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.terminal import clean, say

if TYPE_CHECKING:
    from emovox.datasets.recording import Prompt, RecordingSession, SoundRecorder

__all__ = ["record"]


def record(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the corpus, and its name.")],
    speaker: Annotated[str, typer.Option("--speaker", metavar="CODE", help="A code such as p01; no name.")],
    emotions: Annotated[
        str, typer.Option("--emotions", metavar="A,B", help="Emotions to express.")
    ] = "neutral,happy,sad,angry",
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="CSV", help="Columns emotion,text; default: five plain sentences."),
    ] = None,
    sex: Annotated[str | None, typer.Option("--sex", metavar="S", help="female, male or other.")] = None,
    age: Annotated[int | None, typer.Option("--age", metavar="YEARS", help="Age of the speaker.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="CODE", help="ISO 639-1, such as en.")
    ] = None,
    consent: Annotated[
        Path | None, typer.Option("--consent", metavar="FILE", help="Your own text of the consent.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Which microphone; default: the system's.")
    ] = None,
) -> int:
    """Record a speaker: consent, prompts, takes that are checked, and a manifest after each of them.

    The same command resumes. Requires the extra mic.

    Exit code: 0 when all prompts are recorded or the speaker stopped, 1 when consent was not given.
    """
    from emovox.audio.microphone import Recorder
    from emovox.datasets import recording

    card = recording.SpeakerCard(speaker, sex=sex, age=age, language=language)
    wanted = (
        recording.make_prompts(emotions.split(",")) if prompts is None else recording.read_prompts(prompts)
    )
    words = (
        recording.CONSENT.format(speaker=speaker)
        if consent is None
        else consent.read_text(encoding="utf-8").strip()
    )
    recorder = Recorder(device)
    if _ask(f"{words}\n\nType yes to agree: ").strip().lower() != "yes":
        say("no consent was given; nothing was recorded")
        return 1
    session = recording.RecordingSession(folder, card, wanted, consent=words)
    todo = list(session.left())
    n_kept = 0
    for n, prompt in enumerate(todo, 1):
        answer = _record_prompt(session, recorder, prompt, f"[{n}/{len(todo)}]")
        n_kept += answer == "kept"
        if answer == "q":
            break
    table = folder / "manifest.csv"
    left = sum(1 for _ in session.left())
    say(f"{n_kept} takes kept, {left} prompts left" + (f": {table}" if table.exists() else ""))
    return 0


def _ask(text: str) -> str:
    """Prompt the speaker for a line; the end of the input means q."""
    print(text, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else "q"


def _record_prompt(session: RecordingSession, recorder: SoundRecorder, prompt: Prompt, place: str) -> str:
    """Record takes until one is ``kept``, or the speaker types ``s`` (skip) or ``q`` (quit)."""
    while True:
        title = f"\n{place} {prompt.emotion.upper()}: {clean(prompt.text)}\n"
        answer = _ask(f"{title}Enter starts, s skips, q ends: ").strip().lower()
        if answer in ("s", "q"):
            return answer
        recorder.start()
        try:
            _ask("Recording. Enter stops. ")
        finally:
            sound = recorder.stop()
        take = session.take(prompt, sound, recorder.sample_rate)
        level = take.quality.level_dbfs
        loudness = "silence" if level is None else f"{level:.0f} dBFS"
        warnings = ", ".join(name.replace("_", " ") for name in take.quality.warnings)
        words = f" ({warnings})" if warnings else ""
        described = f"{take.sound.size / SAMPLE_RATE:.1f} s, {loudness}{words}."
        choice = "Enter keeps, r repeats" if take.usable else "Enter repeats, k keeps"
        answer = _ask(f"{described} {choice}: ").strip().lower()
        if answer == "q":
            return answer
        if answer == "k" or (take.usable and answer != "r"):
            session.keep(take)
            return "kept"

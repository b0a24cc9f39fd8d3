"""``emovox data record``: collect a corpus of your own, prompt by prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.terminal import clean, say

if TYPE_CHECKING:
    from emovox.datasets.recording import Prompt, Session, Source, Take

__all__ = ["record"]


def record(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of the corpus; its name is the corpus's.")],
    speaker: Annotated[str, typer.Option("--speaker", metavar="CODE", help="A code such as p01; no name.")],
    emotions: Annotated[
        str, typer.Option("--emotions", metavar="A,B", help="What is asked for.")
    ] = "neutral,happy,sad,angry",
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="CSV", help="Columns emotion,text; else five plain sentences."),
    ] = None,
    sex: Annotated[
        str | None, typer.Option("--sex", metavar="S", help="female, male, other, or left out.")
    ] = None,
    age: Annotated[int | None, typer.Option("--age", metavar="YEARS", help="Or left out.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="CODE", help="ISO 639-1, such as en.")
    ] = None,
    consent: Annotated[
        Path | None, typer.Option("--consent", metavar="FILE", help="Your own words for the consent.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Which microphone; else the system's.")
    ] = None,
) -> int:
    """Record a speaker: consent, prompts, takes that are looked at, and a manifest after each of them.

    Run it again to go on where you stopped. Needs the extra mic.

    Exit code: 0 when all prompts are recorded or the speaker ended, 1 when consent was not given.
    """
    from emovox.datasets import recording

    person = recording.Speaker(speaker, sex=sex, age=age, language=language)
    wanted = recording.prompts(emotions.split(",")) if prompts is None else recording.read_prompts(prompts)
    words = (
        recording.CONSENT.format(speaker=speaker)
        if consent is None
        else consent.read_text(encoding="utf-8").strip()
    )
    source = _microphone(device)
    if _ask(f"{words}\n\nType yes to agree: ").strip().lower() != "yes":
        say("no consent was given; nothing was recorded")
        return 1
    session = recording.Session(folder, person, wanted, consent=words)
    n_kept = _record_all(session, source)
    left = sum(1 for _ in session.left())
    say(f"{n_kept} takes kept, {left} prompts left: {folder / 'manifest.csv'}")
    return 0


def _microphone(device: str | None) -> Source:
    from emovox.audio.microphone import Recorder

    return Recorder(device)


def _ask(text: str) -> str:
    """What the speaker types; the end of the input means q."""
    print(text, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else "q"


def _record_all(session: Session, source: Source) -> int:
    todo = list(session.left())
    n_kept = 0
    for n, prompt in enumerate(todo, 1):
        answer = _record_one(session, source, prompt, f"[{n}/{len(todo)}]")
        n_kept += answer == "kept"
        if answer == "q":
            break
    return n_kept


def _record_one(session: Session, source: Source, prompt: Prompt, place: str) -> str:
    """``kept``, ``s`` (skipped) or ``q`` (ended)."""
    while True:
        told = f"\n{place} {prompt.emotion.upper()}: {clean(prompt.text)}\n"
        answer = _ask(f"{told}Enter starts, s skips, q ends: ").strip().lower()
        if answer in ("s", "q"):
            return answer
        source.start()
        try:
            answer = _ask("Recording. Enter stops. ")
        finally:
            sound = source.stop()
        take = session.take(prompt, sound, source.sample_rate)
        answer = _ask(
            f"{_told(take)} {'Enter keeps, r repeats' if take.usable else 'Enter repeats, k keeps'}: "
        )
        answer = answer.strip().lower()
        if answer == "q":
            return answer
        if answer == "k" or (take.usable and answer != "r"):
            session.keep(take)
            return "kept"


def _told(take: Take) -> str:
    level = take.quality.level_dbfs
    loud = "silence" if level is None else f"{level:.0f} dBFS"
    warnings = ", ".join(name.replace("_", " ") for name in take.quality.warnings)
    return f"{take.sound.size / SAMPLE_RATE:.1f} s, {loud}{f' ({warnings})' if warnings else ''}."

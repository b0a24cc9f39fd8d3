"""``emovox augment``: apply a transform to a recording."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from emovox._files import atomic_path
from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.errors import ConfigError

__all__ = ["SUFFIXES", "augment"]

SUFFIXES = (".wav", ".flac")
"""Suffixes of ``-o``: formats without loss."""


def augment(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE [--SETTING VALUE]...", help="The recording, and settings of the transform."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", metavar="K", help="The transform; --list shows them.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .wav or .flac to write.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random draws.")] = 0,
    list_: Annotated[bool, typer.Option("--list", help="List the transforms and their settings.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
    format: Annotated[Form, typer.Option("--format", "-f", help="How --list looks.")] = Form.table,
) -> int:
    """Transform a recording as training or a robustness test does, to listen to the result.

    Settings of the transform are options too: --snr-db 10, or a range to draw from, --snr-db 5..20. The
    result is mono at 16 kHz. Exit code: 0, or 2 when the request is not possible.
    """
    if list_:
        typer.echo(_list_transforms(format))
        return 0
    if not words or kind is None or output is None:
        raise typer.BadParameter("expected FILE, --kind K and -o FILE; or --list")
    from emovox import audio
    from emovox.augment import make_rng, make_transform

    file, settings = _parse_words(words, switches=_switches(kind))
    transform = make_transform(kind, **settings)
    _check_output(output, file, force=force)
    x = audio.read(file)
    y = transform(x, make_rng(seed, ""))
    _write(output, y)
    times = f"{len(x) / audio.SAMPLE_RATE:.2f} s, now {len(y) / audio.SAMPLE_RATE:.2f} s"
    typer.echo(f"{output}: {transform}, seed {seed}; {times}")
    return 0


# --- arguments ---------------------------------------------------------------------------------------


def _parse_words(words: Sequence[str], *, switches: frozenset[str]) -> tuple[str, dict[str, Any]]:
    """Return the recording, and the settings in ``--snr-db 10 --wrap``; ``switches`` take no value."""
    rest, files, settings = list(words), [], {}
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            files.append(word)
            continue
        typed, equals, value = word[2:].partition("=")
        name = typed.replace("-", "_")
        if name in switches and not equals:
            value = "true"
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise typer.BadParameter(f"{word} needs a value")
            value = rest.pop(0)
        settings[name] = _parse_value(value)
    if len(files) != 1:
        raise typer.BadParameter(
            f"got {len(files)} recordings ({', '.join(files) or 'none'}); expected one FILE"
        )
    return files[0], settings


def _switches(kind: str) -> frozenset[str]:
    from emovox.augment import TRANSFORMS, default_settings

    known = default_settings(kind) if kind in TRANSFORMS else {}
    return frozenset(name for name, value in known.items() if isinstance(value, bool))


def _parse_value(text: str) -> Any:
    """A number, a range ``low..high``, true, false, or a word."""
    if text in ("true", "false"):
        return text == "true"
    low, dots, high = text.partition("..")
    try:
        return (float(low), float(high)) if dots else float(text)
    except ValueError:
        return text


def _check_output(output: Path, file: str, *, force: bool) -> None:
    """Refuse a file of another format, or one that would be overwritten."""
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"-o {str(output)!r}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_new(output, force=force, read=[file])


def _write(output: Path, y: Any) -> None:
    """Write the complete file or none, with 24 bits a sample, which loses nothing audible."""
    import soundfile

    from emovox.audio import SAMPLE_RATE

    try:
        with atomic_path(output) as partial:
            soundfile.write(partial, y, SAMPLE_RATE, format=output.suffix[1:].upper(), subtype="PCM_24")
    except soundfile.LibsndfileError as error:
        raise ConfigError(f"{str(output)!r} cannot be written: {error}") from None


# --- --list ------------------------------------------------------------------------------------------


def _list_transforms(form: Form) -> str:
    from emovox.augment import TRANSFORMS, default_settings

    if form is Form.json:
        rows = [
            {"kind": name, "does": _summary(kind), "settings": default_settings(name)}
            for name, kind in TRANSFORMS.items()
        ]
        return json.dumps(rows, ensure_ascii=False, indent=2)
    lines = []
    for name, kind in TRANSFORMS.items():
        lines.append(f"{name:<12} {_summary(kind)}")
        lines += [f"{'':<15}{_option(key, value)}" for key, value in default_settings(name).items()]
    return "\n".join(lines)


def _summary(kind: type) -> str:
    """The first paragraph of its docstring, on one line."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].replace("``", "").split())


def _option(name: str, value: object) -> str:
    shown = f"{value[0]:g}..{value[1]:g}" if isinstance(value, tuple) else value
    value_text = "true or false" if isinstance(value, bool) else ("FOLDER" if name == "folder" else shown)
    return f"--{name.replace('_', '-')} {value_text}"

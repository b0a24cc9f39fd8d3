"""``emovox check``: behavioural tests of a model, with limits, as a page and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.data.common import DropUnknown
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import clean, progress_bar, say
from emovox.errors import ConfigError

__all__ = ["check"]


def check(
    model: Annotated[str, typer.Argument(help="A name from `emovox models`, or a folder.")] = "default",
    model_option: Annotated[str | None, typer.Option("--model", hidden=True)] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Labelled clips: a manifest, a table or tree of docs/corpora.md, or a corpus; repeatable.",
        ),
    ] = None,
    recordings: Annotated[
        list[str] | None,
        typer.Option(
            "--recordings",
            metavar="PATH",
            help="Recordings without labels, instead of --data: only tests that need no labels; repeatable.",
        ),
    ] = None,
    tests: Annotated[
        list[Path] | None,
        typer.Option(
            "--tests", metavar="FILE", help="Tests of your own as YAML (docs/behaviour.md); repeatable."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="correctness, fairness, robustness or a test's name; repeatable."
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            metavar="NAME=DIR",
            help="Recordings for tests that name them: environment, sneeze, cry, ...; repeatable.",
        ),
    ] = None,
    max_clips: Annotated[
        int, typer.Option("--max-clips", min=1, metavar="N", help="Clips that are changed in each test.")
    ] = 300,
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="NAME", help="Which corpus the data is, or to take of it."),
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="P", help="Whose clips are tested (see docs/protocols.md).")
    ] = "all",
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B", help="Keep clips of these emotions, and predict only these."),
    ] = None,
    mapping: Annotated[
        str | None, typer.Option("--map", metavar="N", help="First fold the emotions to 9, 7, 6 or 4.")
    ] = None,
    drop_unknown: DropUnknown = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write the page, JSON and Markdown there; resumes."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of noise, echoes and babble.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    format: Annotated[Form, typer.Option("--format", "-f", help="How the results are printed.")] = Form.table,
) -> int:
    """Test how a model behaves: correctness, fairness and robustness, each test with a limit.

    Requires the extra `check`. The same command with the same -o resumes a run that was stopped.

    Exit code: 0 when all tests that apply passed, 1 when a test failed, 2 when the request cannot be met,
    3 when no test failed, but some clips could not be read.
    """
    _check_output(output)
    from emovox.evaluation.behaviour import check_behaviour, read_tests, select_tests
    from emovox.reports.behaviour import behaviour_lines

    chosen = select_tests(read_tests(tests or []), only or [])
    if not data and not recordings:
        recordings = [_find_examples()]
        say(f"no --data: only tests that need no labels are run, on the few examples in {recordings[0]}")
    try:
        with progress_bar() as progress:
            found = check_behaviour(
                model_option or model,  # as --model in other commands
                data or None,
                recordings=recordings or [],
                tests=chosen,
                protocol=protocol,
                corpus=corpus,
                labels=labels,
                mapping=mapping,
                drop_unknown=drop_unknown,
                sounds=dict(map(_split_noise, noise or [])),
                max_clips=max_clips,
                seed=seed,
                output=output,
                workers=workers,
                notify=say,
                progress=progress,
            )
    except KeyboardInterrupt:
        if output is not None:
            say(f"stopped; the predictions are kept in {output}: the same command resumes")
        raise
    if output is not None:
        found.write(output)
    if format is Form.json:
        typer.echo(json.dumps(found.document, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for line in behaviour_lines(found.document):
            typer.echo(clean(line) if not line.startswith(" ") else line)
    if output is not None:
        say(f"written: {output / 'behaviour.html'} and behaviour.json, behaviour.md beside it")
    return _exit_code(found.document["summary"][0], n_errors=len(found.document["errors"]))


def _exit_code(whole: dict[str, int], *, n_errors: int) -> int:
    if whole["failed"]:
        return 1
    if not whole["passed"]:
        raise ConfigError("no test is applicable to this model and data; each line above gives the reason")
    return 3 if n_errors else 0


def _find_examples() -> str:
    """Return the folder of example clips in a checkout; a wheel has none."""
    import emovox

    folder = Path(emovox.__file__).parents[2] / "examples"
    if not folder.is_dir():
        raise ConfigError(
            "nothing to test on; give labelled clips with --data, or recordings with --recordings"
        )
    return str(folder)


def _split_noise(text: str) -> tuple[str, str]:
    name, sign, folder = text.partition("=")
    if not sign or not name or not folder:
        raise ConfigError(f"--noise {text!r}; expected NAME=DIR, such as environment=noises/")
    return name, folder


def _check_output(output: Path | None) -> None:
    """Refuse, before the work, a folder that cannot be written or holds something else."""
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or of a check")
    check_writable(output)
    there = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if there and not {"predictions.jsonl", "behaviour.json"} & {*there}:
        raise ConfigError(
            f"-o {str(output)!r} holds {there[0]}, not a check; name another folder, new or begun"
        )

"""The command tree, and what a mistyped command is answered."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from typer.main import get_command

import emovox
from emovox.audio import AUDIO_SUFFIXES
from emovox.cli import (
    augment,
    bench,
    compare,
    doctor,
    enroll,
    evaluate,
    export,
    features,
    listen,
    models,
    predict,
    push,
    serve,
    train,
    tune,
)
from emovox.cli.groups import Commands
from emovox.cli.terminal import say
from emovox.disclaimer import NOTICE
from emovox.errors import EmovoxError

__all__ = ["app", "run"]


class _Commands(Commands):
    """Knows that a recording, too, may stand where a command should."""

    LATER: ClassVar = {
        "batch": "emovox.cli.batch",
        "bot": "emovox.cli.bot",
        "data": "emovox.cli.data",
        "plot": "emovox.cli.plot",
        "runs": "emovox.cli.runs",
    }

    def meant(self, name: str) -> str:
        if Path(name).suffix.lower() in AUDIO_SUFFIXES or Path(name).exists():
            return f"{name!r} is not a command. To judge a recording:  emovox predict {name}"
        return super().meant(name)


app = typer.Typer(
    name="emovox",
    cls=_Commands,
    help="Recognise the emotion expressed in speech.",
    epilog=NOTICE,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would cost every start 60 ms
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command(epilog=NOTICE)(predict.predict)
app.command(epilog=NOTICE)(listen.listen)
app.command()(enroll.enroll)
app.command()(evaluate.evaluate)
app.command()(bench.bench)
app.command()(train.train)
app.command()(tune.tune)
app.command()(compare.compare)
app.command()(features.features)
app.command(context_settings={"ignore_unknown_options": True})(augment.augment)
app.command(epilog=NOTICE)(serve.serve)
app.command()(models.models)
app.command()(export.export)
app.command()(push.push)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"emovox {emovox.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand != "predict":  # which loads its model first
        gc.enable()


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command tree on ``argv`` and return the exit code (see ``emovox.cli.main``)."""
    if sys.stderr is None:  # closed: what is said goes nowhere, above all not into stdout
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    try:
        code = get_command(app).main(
            args=None if argv is None else list(argv), prog_name="emovox", standalone_mode=False
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer met it first
            return _pipe_closed()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except EmovoxError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(_fault(error))
        return 2
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        error.show()  # a usage error of typer's, which knows its own usage line
        return 2
    return code if isinstance(code, int) else 0


_OURS = re.compile(r"\.[^/.]+-\d+\.part$|/\.merge-\w+$|/\.spool-\w+$")
"""Names of what is written before it is whole: of no interest to whoever asked for the whole."""


def _fault(error: OSError) -> str:
    """What the system could not do, and with which file."""
    reason = error.strerror or str(error) or type(error).__name__
    place = error.filename2 or error.filename
    return reason if place is None else f"{_OURS.sub('', os.fsdecode(place))}: {reason}"


def _pipe_closed() -> int:
    """Leave quietly after the reader of stdout has gone, as if the signal had ended the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
    return 141

"""The command tree, and the exit code and message of every failure."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.main import get_command

import emovox
from emovox.cli.groups import Group, LazyCommand
from emovox.cli.terminal import say
from emovox.disclaimer import NOTICE
from emovox.errors import EmovoxError

__all__ = ["app", "run"]


class _Commands(Group):
    lazy: ClassVar = {
        "predict": LazyCommand("emovox.cli.predict", "Predict the emotion expressed in recordings.", NOTICE),
        "transcribe": LazyCommand(
            "emovox.cli.transcribe", "Write down what is said, with the emotion of each sentence.", NOTICE
        ),
        "report": LazyCommand(
            "emovox.cli.report", "Write the page of a call: player, speakers, transcript.", NOTICE
        ),
        "explain": LazyCommand(
            "emovox.cli.explain", "Find which seconds and which frequencies decided.", NOTICE
        ),
        "listen": LazyCommand("emovox.cli.listen", "Predict from a microphone, live.", NOTICE),
        "enroll": LazyCommand("emovox.cli.enroll", "Save the feature statistics of a speaker or source."),
        "evaluate": LazyCommand("emovox.cli.evaluate", "Score a model on labelled clips, with its protocol."),
        "check": LazyCommand("emovox.cli.check", "Test how a model behaves, against limits."),
        "bench": LazyCommand("emovox.cli.bench", "Score configs under strict and leaky protocols."),
        "train": LazyCommand("emovox.cli.train", "Train a model, write its bundle, evaluate it."),
        "finetune": LazyCommand("emovox.cli.finetune", "Fit a model to labels of your own."),
        "tune": LazyCommand("emovox.cli.tune", "Search hyper-parameters on validation speakers."),
        "compare": LazyCommand("emovox.cli.compare", "Cross-validate many systems and choose the best."),
        "features": LazyCommand("emovox.cli.features", "Compute features of recordings as a table."),
        "augment": LazyCommand(
            "emovox.cli.augment", "Apply an augmentation to a recording.", passes_unknown_options=True
        ),
        "serve": LazyCommand("emovox.cli.serve", "Serve over HTTP and WebSocket, with a web page.", NOTICE),
        "mcp": LazyCommand("emovox.cli.mcp", "Serve tools to agents over stdio (MCP).", NOTICE),
        "models": LazyCommand("emovox.cli.models", "List the models: labels, scores, terms of use."),
        "export": LazyCommand("emovox.cli.export", "Write a model as a bundle, also as int8, or a web page."),
        "push": LazyCommand("emovox.cli.push", "Upload a model to the Hugging Face Hub."),
        "doctor": LazyCommand("emovox.cli.doctor", "Report what is installed and how to get the rest."),
        "batch": LazyCommand("emovox.cli.batch", "Process many recordings, resumable, here or on a cluster."),
        "bot": LazyCommand("emovox.cli.bot", "Answer voice messages on Telegram."),
        "data": LazyCommand("emovox.cli.data", "List, download, check, prepare and record corpora."),
        "plot": LazyCommand("emovox.cli.plot", "Plot results, recordings and features."),
        "runs": LazyCommand("emovox.cli.runs", "List and compare training runs."),
    }

    def explain_unknown(self, name: str) -> str:
        from emovox.audio import AUDIO_SUFFIXES

        if Path(name).suffix.lower() in AUDIO_SUFFIXES or Path(name).exists():
            return f"{name!r} is not a command. To predict its emotion:  emovox predict {name}"
        return super().explain_unknown(name)


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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"emovox {emovox.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command tree on ``argv`` and return the exit code (see ``emovox.cli.main``)."""
    if sys.stderr is None:  # closed: messages must not go into stdout
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
        say(_describe(error))
        return 2
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        if isinstance(message := getattr(error, "message", None), str):
            error.message = message.removeprefix("Value error, ")  # type: ignore[attr-defined]  # pydantic's words
        _add_setting_hint(error, sys.argv[1:] if argv is None else argv)
        error.show()  # a usage error of typer's, which knows its own usage line
        return 2
    return code if isinstance(code, int) else 0


def _add_setting_hint(error: Any, argv: Sequence[str]) -> None:
    """Name the setting of a config that an unknown option of a training command probably means."""
    name = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    if name and error.ctx is not None and error.ctx.info_name in ("train", "tune", "bench"):
        from emovox.training.config import find_setting

        if key := find_setting(name):
            option = str(error.option_name)
            value = "VALUE"
            for argument, following in zip(argv, [*argv[1:], "-"], strict=True):
                if argument.startswith(f"{option}="):
                    value = argument.partition("=")[2]
                elif argument == option and not following.startswith("-"):
                    value = following
            error.message += f"; as a setting it is typed without dashes:  {key}={value}"


_TEMPORARY = re.compile(r"\.[^/.]+-\d+\.part$|/\.merge-\w+$|/\.spool-\w+$")
"""Suffixes of temporary names: the message names the file that the user asked for."""


def _describe(error: OSError) -> str:
    """Describe an error of the operating system, with the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    place = error.filename2 or error.filename
    return reason if place is None else f"{_TEMPORARY.sub('', os.fsdecode(place))}: {reason}"


def _pipe_closed() -> int:
    """Exit quietly after the reader of stdout has closed it, with the code of SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards what is still buffered
    return 141

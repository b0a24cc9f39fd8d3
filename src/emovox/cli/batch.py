"""``emovox batch``: many recordings, gone on with after whatever stopped it, on this machine or a cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.data.common import FormOption, show
from emovox.cli.groups import Group
from emovox.cli.meter import Meter, many
from emovox.cli.models import Form
from emovox.cli.predict import Switch
from emovox.cli.terminal import clock, say
from emovox.errors import ConfigError
from emovox.inference.options import Channels, Request

if TYPE_CHECKING:
    from emovox.batch import Status
    from emovox.batch.estimate import Estimate
    from emovox.batch.job import Job

__all__ = ["PartForm", "app", "features", "merge", "predict", "status", "timeline"]

app = typer.Typer(
    name="batch",
    cls=Group,
    help="Judge many recordings in a run that can be stopped and gone on with, here or on a cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


class PartForm(StrEnum):
    """What the parts of a run are."""

    parquet = "parquet"
    jsonl = "jsonl"


PlanArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLAN",
        help="A folder, a pattern, a table (.csv, .tsv, .parquet, .jsonl), a list (.txt) or a URL of one.",
    ),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="OUT", help="The folder of the run, or a URL.")
]
EngineOption = Annotated[str, typer.Option("--engine", metavar="local|ray", help="Who works.")]
Address = Annotated[
    str | None, typer.Option("--address", metavar="A", help="With ray: of a cluster that runs already.")
]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="How many work at once.")]
FormatOption = Annotated[PartForm | None, typer.Option("--format", help="Of the parts; default: parquet.")]
ShardSize = Annotated[
    int | None, typer.Option("--shard-size", min=1, metavar="N", help="Recordings in a part; default: 500.")
]
Column = Annotated[
    str | None, typer.Option("--column", metavar="C", help="Of a table: the column that names recordings.")
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Also try again what failed in earlier runs.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and write nothing.")]
Speed = Annotated[
    float | None,
    typer.Option(
        "--speed", min=1e-9, metavar="X", help="With --dry-run: recordings/s of a worker; else measured."
    ),
]
Model = Annotated[
    str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="A,B", help="Decide among these labels only.")
]
ChannelsOption = Annotated[
    str, typer.Option("--channels", metavar="mix|each|N", help="What is judged; N counts from 0.")
]
Vad = Annotated[Switch, typer.Option("--vad", help="Voice activity detection.")]

_EPILOG = (
    "Exit code: 0 when all worked, 1 when some recordings failed, each a row with its error, 2 when the "
    "request cannot be met or the run cannot go on."
)


@app.command(epilog=_EPILOG)
def predict(
    plan: PlanArgument,
    output: Output,
    model: Model = "default",
    labels: Labels = None,
    channels: ChannelsOption = "mix",
    vad: Vad = Switch.on,
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    dry_run: Dry = False,
    speed: Speed = None,
) -> int:
    """Say which emotion each recording of PLAN expresses; a row each, as `emovox predict` gives."""
    from emovox.batch import Job, answer_task

    task = answer_task(model, Request(_channels(channels), _labels(labels)), vad=vad.value)
    job = Job(plan, output, task, column, format, shard_size)
    return _run(job, engine, address, workers, retry_failed, dry_run, speed)


@app.command(epilog=_EPILOG)
def timeline(
    plan: PlanArgument,
    output: Output,
    model: Model = "default",
    labels: Labels = None,
    channels: ChannelsOption = "mix",
    vad: Vad = Switch.on,
    window_s: Annotated[
        float | None, typer.Option("--window-s", min=0.1, metavar="S", help="Seconds judged at once.")
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", min=0.1, metavar="S", help="Seconds between.")
    ] = None,
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    dry_run: Dry = False,
    speed: Speed = None,
) -> int:
    """Say it along the time of each recording of PLAN; a row a stretch of speech."""
    from emovox.batch import Job, answer_task

    request = Request(_channels(channels), _labels(labels), True, window_s, hop_s)
    job = Job(plan, output, answer_task(model, request, vad=vad.value), column, format, shard_size)
    return _run(job, engine, address, workers, retry_failed, dry_run, speed)


@app.command(epilog=_EPILOG)
def features(
    plan: PlanArgument,
    output: Output,
    sets: Annotated[
        str,
        typer.Option("--set", metavar="A,B", help="Sets of features; `emovox features --list` names them."),
    ],
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    dry_run: Dry = False,
    speed: Speed = None,
) -> int:
    """Compute features of each recording of PLAN; a row each."""
    from emovox.batch import Job, feature_task
    from emovox.features import find_feature_set

    names = [name.strip() for name in sets.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"--set {sets!r}: expected different names, with commas between them")
    job = Job(
        plan, output, feature_task([find_feature_set(name) for name in names]), column, format, shard_size
    )
    return _run(job, engine, address, workers, retry_failed, dry_run, speed)


@app.command()
def merge(
    folder: Annotated[str, typer.Argument(metavar="OUT", help="The folder of a run, or a URL.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="A .parquet or .jsonl, or a URL of one.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
) -> int:
    """All rows of a complete run in one file, sorted by recording.

    The same recordings, model and settings are the same file, byte for byte, whoever worked.
    """
    from emovox.batch import places
    from emovox.batch import status as asked
    from emovox.batch.merge import merge as merged

    if places.exists(output) and not force:
        raise ConfigError(f"-o {output!r} exists; name another file, or add --force to replace it")
    found = merged(folder, asked(folder).ledger, output)
    typer.echo(f"{many(found.n_rows, 'row')} ({found.n_failed:,} of recordings that failed): {output}")
    return 0


@app.command()
def status(
    folder: Annotated[str, typer.Argument(metavar="OUT", help="The folder of a run, or a URL.")],
    format: FormOption = Form.table,
) -> int:
    """How far a run is, and of what."""
    from emovox.batch import status as asked

    found = asked(folder)
    show(_facts(found), [_document(found)], format)
    return 0


# --- a run ------------------------------------------------------------------------------------------


def _channels(text: str) -> Channels:
    if text in ("mix", "each"):
        return text  # type: ignore[return-value]
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"--channels {text!r}: expected mix, each, or a channel's number from 0")


def _labels(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split(","))


def _run(
    job: Job,
    engine: str,
    address: str | None,
    workers: int,
    retry_failed: bool,
    dry_run: bool,
    speed: float | None,
) -> int:
    """Do it, or say what it would take; the exit code."""
    from emovox.batch.drive import run_job
    from emovox.batch.engines import engine as named
    from emovox.batch.job import form_of
    from emovox.batch.ledger import read_ledger

    if speed is not None and not dry_run:
        raise typer.BadParameter("--speed is what --dry-run reckons with; add --dry-run")
    who = named(engine, address=address)
    if dry_run:
        form_of(job, read_ledger(job.output))  # what the run itself would refuse
        return _estimated(job, workers, speed)
    meter = Meter()
    try:
        found = run_job(job, who, workers=workers, retry_failed=retry_failed, watch=meter.at)
    except KeyboardInterrupt:
        meter.hide()
        say("interrupted; what is done is kept, and the same command goes on")
        return 130
    finally:
        meter.hide()
    typer.echo(meter.summary(found))
    if found.n_failed:
        failed = (
            "1 recording failed, a row"
            if found.n_failed == 1
            else f"{found.n_failed:,} recordings failed, each a row"
        )
        say(f"{failed} with its error; to try again: --retry-failed")
    return 1 if found.n_failed else 0


def _estimated(job: Job, workers: int, speed: float | None) -> int:
    from emovox.batch.estimate import estimate

    for line in _lines(estimate(job, speed=speed), workers):
        typer.echo(line)
    return 0


def _lines(found: Estimate, workers: int) -> list[str]:
    plan = found.plan
    twice = f" ({plan.n_twice:,} listed again, judged once)" if plan.n_twice else ""
    parts = f"{many(plan.n_shards, 'part')} of up to {plan.shard_size:,}"
    lines = [f"{many(plan.n_items, 'recording')}{twice}, {parts}"]
    if found.problem is not None:
        lines.append(
            f"how long it takes cannot be told: {many(found.n_tried, 'recording')} tried, and each failed; "
            f"the first: {found.problem}"
        )
    elif found.n_tried:
        lines.append(
            f"one worker, measured on {found.n_tried} of them ({found.n_failed} failed): "
            f"{found.items_per_s:,.1f} recordings/s, {found.audio_h_per_h or 0.0:,.0f} hours of sound an hour"
        )
    elif found.items_per_s is not None:
        lines.append(f"one worker, as stated: {found.items_per_s:,.1f} recordings/s")
    takes_s = found.takes_s(workers)
    if takes_s is not None:
        cores = "1 worker" if workers == 1 else f"{workers} workers, each with a core of its own"
        lines.append(f"{cores}: {clock(takes_s)}")
    return [*lines, "nothing was written"]


# --- a status ---------------------------------------------------------------------------------------


def _facts(found: Status) -> list[str]:
    ledger, plan = found.ledger, found.ledger.plan
    state = "complete" if found.is_complete else f"{found.n_shards_done:,} of {many(plan.n_shards, 'part')}"
    model = ledger.task.get("model")
    what = model["name"] if model else ", ".join(str(one["set"]) for one in ledger.task["sets"])
    return [
        f"{ledger.task['task']} by {what}, of {ledger.source}, begun {ledger.created}",
        f"{found.n_done:,} of {many(plan.n_items, 'recording')} done, {found.n_failed:,} failed: {state}",
    ]


def _document(found: Status) -> dict[str, object]:
    plan = found.ledger.plan
    return {
        "task": dict(found.ledger.task),
        "plan": found.ledger.source,
        "created": found.ledger.created,
        "n_items": plan.n_items,
        "n_shards": plan.n_shards,
        "n_done": found.n_done,
        "n_failed": found.n_failed,
        "n_shards_done": found.n_shards_done,
        "complete": found.is_complete,
    }

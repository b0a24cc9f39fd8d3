"""``emovox batch``: many recordings in a resumable run, on this machine or on a cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.data.common import FormOption, show
from emovox.cli.groups import Group
from emovox.cli.meter import ProgressMeter, format_count
from emovox.cli.models import Form
from emovox.cli.options import ModelName, OnOff, Vad
from emovox.cli.sources import describe_left_out
from emovox.cli.terminal import say
from emovox.errors import ConfigError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from emovox.batch import BatchJob, BatchProgress, BatchStatus

__all__ = ["PartForm", "app", "features", "merge", "predict", "status", "timeline"]

app = typer.Typer(
    name="batch",
    cls=Group,
    help="Process many recordings in a resumable run, on this machine or on a cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


class PartForm(StrEnum):
    """File formats of the parts of a run."""

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
EngineOption = Annotated[str, typer.Option("--engine", metavar="local|ray", help="Where the workers run.")]
Address = Annotated[
    str | None, typer.Option("--address", metavar="A", help="With ray: address of a running cluster.")
]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Worker processes.")]
FormatOption = Annotated[PartForm | None, typer.Option("--format", help="Of the rows [parquet].")]
ShardSize = Annotated[
    int | None, typer.Option("--shard-size", min=1, metavar="N", help="Recordings in a part [500].")
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Also read the folders below a folder.")]
Column = Annotated[
    str | None, typer.Option("--column", metavar="C", help="For a table: the column with the recordings.")
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Also retry recordings that failed before.")]
NoMerge = Annotated[
    bool, typer.Option("--no-merge", help="Leave the rows in parts; do not write OUT/rows.parquet.")
]
Model = ModelName
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="A,B", help="Choose among these labels only.")
]
ChannelsOption = Annotated[
    str, typer.Option("--channels", metavar="mix|each|N", help="Which channels; N counts from 0.")
]

_EPILOG = (
    "Exit code: 0 when all recordings succeeded, 1 when some failed (each is a row with its error), 2 when "
    "the request cannot be met or the run cannot continue. The same command resumes an interrupted run."
)


@app.command(epilog=_EPILOG)
def predict(
    plan: PlanArgument,
    output: Output,
    model: Model = "default",
    labels: Labels = None,
    channels: ChannelsOption = "mix",
    vad: Vad = OnOff.on,
    segments: Annotated[
        str | None,
        typer.Option(
            "--segments",
            metavar="SUFFIX",
            help="Predict the segments of the label file beside each recording: srt for a.srt of a.wav.",
        ),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="With --segments: adapt the model to each speaker of a recording.")
    ] = False,
    recursive: Recursive = False,
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    no_merge: NoMerge = False,
) -> int:
    """Predict the emotion that each recording of PLAN expresses; one row each, as `emovox predict`."""
    from emovox.batch import BatchJob, make_prediction_task

    if adapt and segments is None:
        raise typer.BadParameter("--adapt is an option of --segments; add --segments SUFFIX")
    options = PredictOptions(labels=labels, channels=channels, vad=vad.value, adapt=adapt)
    task = make_prediction_task(model, options, segments=segments)
    job = BatchJob(plan, output, task, column, format, shard_size, recursive)
    return _run(job, engine, address, workers, retry_failed, not no_merge)


@app.command(epilog=_EPILOG)
def timeline(
    plan: PlanArgument,
    output: Output,
    model: Model = "default",
    labels: Labels = None,
    channels: ChannelsOption = "mix",
    vad: Vad = OnOff.on,
    window_s: Annotated[
        float | None, typer.Option("--window-s", min=0.1, metavar="S", help="Length of a window in seconds.")
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", min=0.1, metavar="S", help="Seconds between windows.")
    ] = None,
    recursive: Recursive = False,
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    no_merge: NoMerge = False,
) -> int:
    """Predict over time, for each recording of PLAN; one row per segment of speech."""
    from emovox.batch import BatchJob, make_prediction_task

    options = PredictOptions(
        labels=labels, channels=channels, vad=vad.value, timeline=True, window_s=window_s, hop_s=hop_s
    )
    task = make_prediction_task(model, options)
    job = BatchJob(plan, output, task, column, format, shard_size, recursive)
    return _run(job, engine, address, workers, retry_failed, not no_merge)


@app.command(epilog=_EPILOG)
def features(
    plan: PlanArgument,
    output: Output,
    sets: Annotated[
        str,
        typer.Option("--set", metavar="A,B", help="Sets of features; `emovox features --list` names them."),
    ],
    recursive: Recursive = False,
    column: Column = None,
    engine: EngineOption = "local",
    address: Address = None,
    workers: Workers = 1,
    format: FormatOption = None,
    shard_size: ShardSize = None,
    retry_failed: Retry = False,
    no_merge: NoMerge = False,
) -> int:
    """Compute features of each recording of PLAN; one row each."""
    from emovox.batch import BatchJob, make_feature_task
    from emovox.features import find_feature_set

    names = [name.strip() for name in sets.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"--set {sets!r}: expected different names, with commas between them")
    job = BatchJob(
        plan,
        output,
        make_feature_task([find_feature_set(name) for name in names]),
        column,
        format,
        shard_size,
        recursive,
    )
    return _run(job, engine, address, workers, retry_failed, not no_merge)


@app.command()
def merge(
    folder: Annotated[str, typer.Argument(metavar="OUT", help="The folder of a run, or a URL.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="A .parquet or .jsonl, or a URL of one.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
) -> int:
    """Merge all rows of a complete run into one file, sorted by recording.

    The same recordings, model and settings give the same file, byte for byte, for any number of workers.
    """
    from emovox.batch import merge_run, read_status, storage

    if storage.exists(output) and not force:
        raise ConfigError(f"-o {output!r} exists; name another file, or add --force to replace it")
    merged = merge_run(folder, read_status(folder).record, output)
    typer.echo(f"{format_count(merged.n_rows, 'row')} ({merged.n_failed:,} of failed recordings): {output}")
    return 0


@app.command()
def status(
    folder: Annotated[str, typer.Argument(metavar="OUT", help="The folder of a run, or a URL.")],
    format: FormOption = Form.table,
) -> int:
    """Show the progress of a run, and what it computes."""
    from emovox.batch import read_status

    found = read_status(folder)
    show(_format_status(found), [_document_status(found)], format)
    return 0


# --- a run ------------------------------------------------------------------------------------------


def _run(
    job: BatchJob, engine_name: str, address: str | None, workers: int, retry_failed: bool, merges: bool
) -> int:
    """Run a job, merge its rows and say where they are; return the exit code."""
    from emovox.batch import make_engine, run_job, storage
    from emovox.batch.merge import merge_run, merged_file

    engine = make_engine(engine_name, address=address)
    meter = ProgressMeter()

    def update(progress: BatchProgress) -> None:
        report_left_out()
        meter.update(progress)

    def report_left_out() -> None:
        if job.left_out:
            say(describe_left_out(job.left_out))
            job.left_out.clear()

    try:
        found = run_job(job, engine, workers=workers, retry_failed=retry_failed, on_progress=update)
        meter.hide()
        typer.echo(meter.summarize(found))
        if merges:
            file = merged_file(job.output, found.record)
            n_rows, _ = merge_run(job.output, found.record, file)
            typer.echo(f"answers: {storage.redact(file)} ({format_count(n_rows, 'row')})")
        else:
            parts = storage.redact(storage.join(job.output, "parts"))
            typer.echo(
                f"answers: {parts} ({format_count(found.n_shards_done, 'file')}); "
                "one file of them: emovox batch merge"
            )
    except KeyboardInterrupt:
        meter.hide()
        say("interrupted; finished work is kept, and the same command resumes")
        return 130
    finally:
        meter.hide()
        report_left_out()  # of a plan that names no recordings, too
    if found.n_failed:
        rows = "its row has" if found.n_failed == 1 else "their rows have"
        say(f"{format_count(found.n_failed, 'recording')} failed: {rows} the error; to retry: --retry-failed")
    return 1 if found.n_failed else 0


# --- a status -------------------------------------------------------------------------------------


def _format_status(found: BatchStatus) -> list[str]:
    record, plan = found.record, found.record.plan
    progress = f"{found.n_shards_done:,} of {format_count(plan.n_shards, 'part')}"
    model = record.task.get("model")
    what = model["name"] if model else ", ".join(str(one["set"]) for one in record.task["sets"])
    total = format_count(plan.n_items, "recording")
    return [
        f"{record.task['task']} by {what}, of {record.source}, started {record.created}",
        f"{found.n_done:,} of {total} done, {found.n_failed:,} failed: "
        f"{'complete' if found.is_complete else progress}",
    ]


def _document_status(found: BatchStatus) -> dict[str, object]:
    plan = found.record.plan
    return {
        "task": dict(found.record.task),
        "plan": found.record.source,
        "created": found.record.created,
        "n_items": plan.n_items,
        "n_shards": plan.n_shards,
        "n_done": found.n_done,
        "n_failed": found.n_failed,
        "n_shards_done": found.n_shards_done,
        "complete": found.is_complete,
    }

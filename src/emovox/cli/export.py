"""``emovox export``: copy a model as a bundle, quantise it to int8, or write a page for browsers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import progress_bar, say
from emovox.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from emovox.bundles import Bundle, Score, Spec
    from emovox.datasets import Manifest
    from emovox.datasets.splits import Split
    from emovox.evaluation.predictions import Predictions

__all__ = ["export"]

_TIMED_CLIPS = 50


def export(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run, a bundle or a model's name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="The bundle to write.")
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option("--web", metavar="DIR", help="Write a static page that predicts in the browser."),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="Write one .onnx file for programs without emovox."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime", metavar="DIR", help="Of --web: a folder node_modules; else npm fetches it."
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the weights to 8 bits (extra classical).")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="PATH", help="Clips to calibrate and to measure on; repeatable."),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="NAME", help="Which corpus the data is.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="P",
            help="One split: its training side calibrates, its test measures; the model's own unless given.",
        ),
    ] = None,
    calibration_clips: Annotated[
        int, typer.Option("--calibration-clips", min=1, metavar="N", help="How many clips calibrate.")
    ] = 200,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> int:
    """Write a model as a bundle: a verified copy, or static int8 with its cost in UAR measured.

    With --web a folder for any web server: a page and a module that predict on the device.  docs/web.md
    With --onnx one file that any ONNX runtime runs, its labels inside.  docs/onnx.md

    Exit code: 0 when it is written, 2 when not.
    """
    from emovox.bundles import MODEL_FILE, load_bundle, registry, write_bundle, write_standalone

    if [output, web, onnx].count(None) != 2:
        raise ConfigError(
            "name one thing to write: a bundle with -o, a page with --web, or a file with --onnx"
        )
    if output is None and (int8 or data or protocol or corpus):
        raise ConfigError("--int8, --data, --corpus and --protocol are for a bundle: name its folder with -o")
    if runtime is not None and web is None:
        raise ConfigError("--runtime is for --web; a model alone needs none")
    if onnx is not None:
        if onnx.is_dir() or (onnx.exists() and not force):
            what = "is a folder" if onnx.is_dir() else "exists"
            raise ConfigError(
                f"--onnx {str(onnx)!r} {what}; name another file, or add --force to replace one"
            )
        check_writable(onnx, option="--onnx")
        n_bytes = write_standalone(registry.find(model), onnx)
        typer.echo(f"{onnx}: {n_bytes:,} bytes")
        return 0
    if output is None:
        return _write_page(registry.find(model), cast("Path", web), runtime, force=force)
    source = registry.find(model)
    bundle = load_bundle(source)
    content = (source / MODEL_FILE).read_bytes()
    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or empty")
    if output.exists() and any(output.iterdir()) and not force:
        raise ConfigError(f"-o {str(output)!r} holds files; name another folder, or add --force")
    check_writable(output)
    if not int8:
        if data or protocol or corpus:
            raise ConfigError("--data, --corpus and --protocol are for --int8; a copy needs none")
        write_bundle(output, content, bundle.spec, replace=force)
        typer.echo(f"{output}: {bundle.spec.name} {bundle.spec.version}, {len(content):,} bytes")
        return 0
    if not data:
        raise ConfigError("--int8 is calibrated and measured on clips; name them with --data")
    if bundle.spec.targets:
        raise ConfigError("--int8 is measured by the UAR of labels; expected a model without values")
    clips = _load_clips(bundle.spec, data, corpus, protocol, calibration_clips)
    smaller = _quantize(content, bundle, clips.calibration)
    before = _predict(source, clips.test)
    write_bundle(output, smaller, _describe(bundle.spec, clips, ()), replace=force)
    after = _predict(output, clips.test)
    scores = tuple(_score(clips, when, one) for when, one in (("", after), (" before int8", before)))
    write_bundle(output, smaller, _describe(bundle.spec, clips, scores), replace=True)
    _print_comparison(output, clips, before, after, (len(content), len(smaller)))
    _print_speed(bundle, load_bundle(output), clips.test)
    return 0


def _write_page(source: Path, folder: Path, runtime: Path | None, *, force: bool) -> int:
    from tempfile import TemporaryDirectory

    from emovox.inference.web import download_runtime, write_web_page

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise ConfigError(
            f"--web {str(folder)!r} exists and is not empty; name another folder, or add --force"
        )
    check_writable(folder)
    with TemporaryDirectory() as scratch:
        if runtime is None:
            say("npm fetches the runtime, 33 MB")
            runtime = download_runtime(Path(scratch))
        n_bytes = write_web_page(source, folder, runtime)
    typer.echo(f"{folder}: {n_bytes:,} bytes; try it:  python -m http.server --directory {folder} 8001")
    return 0


@dataclass(frozen=True, slots=True)
class _ExportClips:
    """Clips that calibrate, clips that measure, and the stamp of that measure."""

    calibration: Manifest
    test: Manifest
    split: Split
    stamp: str


def _load_clips(
    spec: Spec, data: Sequence[str], corpus: str | None, protocol: str | None, n: int
) -> _ExportClips:
    from emovox.datasets.loading import Dataset
    from emovox.evaluation.leakage import find_stamp
    from emovox.evaluation.robustness import sample_clips

    dataset = Dataset.load(data, corpus=corpus, drop_unknown=True)
    for line in dataset.notes:
        say(line)
    whole = dataset.manifest
    name = protocol or spec.protocol.partition("#")[0]
    splits = dataset.splits(name)
    if len(splits) != 1:
        such = splits[0].name if splits else "given"
        raise ConfigError(f"{name!r} is {len(splits)} splits; name one with --protocol, such as {such}")
    split = splits[0]
    test = dataset.select(split.test).relabel(labels=spec.labels).manifest
    found_stamp = find_stamp(spec, whole, test.ids, known=splits)
    return _ExportClips(sample_clips(whole.select(split.train), n), test, split, found_stamp.stamp)


def _predict(folder: Path, clips: Manifest) -> Predictions:
    from emovox.evaluation.predictions import predict_manifest
    from emovox.inference.recognizer import load as load_model

    with progress_bar() as progress:
        return predict_manifest(load_model(folder), clips, progress=progress)


def _quantize(content: bytes, bundle: Bundle, clips: Manifest) -> bytes:
    try:
        from emovox.training.quantization import to_int8
    except ModuleNotFoundError as error:
        raise MissingExtraError("quantising a model", "classical") from error
    kind = cast("Any", bundle.spec.input.kind)
    return to_int8(content, _model_inputs(bundle, clips), kind=kind, name=bundle.spec.name)


def _model_inputs(bundle: Bundle, clips: Manifest) -> list[Any]:
    """The inputs of the graph for each clip, cut to the length of one run."""
    longest = round(bundle.spec.clip_s * SAMPLE_RATE)
    return [bundle.normalize(bundle.compute_input(clips.read(u)[:longest])) for u in clips]


def _describe(spec: Spec, clips: _ExportClips, scores: tuple[Score, ...]) -> Spec:
    """The spec of the new model; scores of the old one do not apply to it."""
    how = f"static int8, calibrated on {len(clips.calibration)} clips of {clips.split.name}"
    return replace(spec, description=f"{spec.description} ({how})", scores=scores, sha256="", created="")


def _score(clips: _ExportClips, when: str, answers: Predictions) -> Score:
    from emovox.bundles import Score

    uar = answers.uar()
    return Score(
        corpus="+".join(clips.test.corpora),
        protocol=f"{clips.split.name} ({clips.stamp})",
        metric=f"uar{when}",
        value=round(uar.value, 6),
        low=uar.low,
        high=uar.high,
        n_speakers=len(clips.test.speakers),
        n_clips=len(clips.test),
    )


def _print_comparison(
    output: Path, clips: _ExportClips, before: Predictions, after: Predictions, sizes: tuple[int, int]
) -> None:
    same = sum(a == b for a, b in zip(before.y_pred, after.y_pred, strict=True)) / len(after.y_pred)
    n = f"{len(clips.test)} clips of {len(clips.test.speakers)} speakers"
    old, new = before.uar().value, after.uar().value
    typer.echo(f"{output}: int8, calibrated on {len(clips.calibration)} clips")
    typer.echo(f"  bytes     {sizes[0]:,} -> {sizes[1]:,}")
    typer.echo(f"  UAR       {old:.3f} -> {new:.3f} ({new - old:+.3f}) on {n}")
    typer.echo(f"  protocol  {clips.split.name} ({clips.stamp})")
    typer.echo(f"  answers   {same:.1%} are the same")


def _print_speed(old: Bundle, new: Bundle, clips: Manifest) -> None:
    """Time the graphs alone, in turn, so that other load on the machine affects both."""
    from emovox.evaluation.robustness import sample_clips

    spent: dict[int, list[float]] = {0: [], 1: []}
    for item in _model_inputs(old, sample_clips(clips, _TIMED_CLIPS)):
        for which, bundle in enumerate((old, new)):
            bundle.model([item])  # warm
            start = time.perf_counter()
            bundle.model([item])
            spent[which].append(1e3 * (time.perf_counter() - start))
    ms = [float(np.median(spent[which])) for which in (0, 1)]
    typer.echo(f"  speed     {ms[0]:.1f} -> {ms[1]:.1f} ms a clip, one thread, without the features")

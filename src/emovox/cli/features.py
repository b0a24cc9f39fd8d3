"""``emovox features``: sets of features of recordings, as a table for whatever comes next."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.models import Form
from emovox.cli.outputs import check_new

if TYPE_CHECKING:
    from emovox.features import FeatureSet
    from emovox.features.cache import Store
    from emovox.features.extraction import Windows

__all__ = ["features"]


def features(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Recordings, folders, patterns.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="MANIFEST", help="Clips of a manifest, or of a corpus's folder."),
    ] = None,
    sets: Annotated[
        str | None, typer.Option("--set", metavar="NAME[,NAME]", help="What to compute; see --list.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="Change a set: mfcc.n_mfcc=13. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .parquet, .csv or .npz.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
    frames: Annotated[bool, typer.Option("--frames", help="One row a frame, for a set of frames.")] = False,
    window_s: Annotated[
        float | None,
        typer.Option("--window-s", "--window", metavar="S", help="One row each S seconds' window."),
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", "--hop", metavar="S", help="From window to window; default: S.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in folders below folders too.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="Where features are kept; default: the cache folder."),
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Neither look there nor keep any.")] = False,
    store_max_gb: Annotated[
        float | None, typer.Option("--store-max-gb", metavar="GB", help="Bound on the store; default: 10.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sets.")] = False,
    describe: Annotated[
        str | None, typer.Option("--describe", metavar="SET", help="Say what a set is made of.")
    ] = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="How --list and --describe look.")
    ] = Form.table,
) -> int:
    """Compute features of recordings, a row each.

    What is computed is kept by content, set and parameters: stopped and run again, it goes on; what has
    changed is computed anew. FILE appears when it is complete.

    Exit code: 0 when all worked, 1 when some recordings failed, each a row with its error, 2 when the request
    cannot be met.
    """
    # The matrices are small: OpenBLAS would have its threads wait for each other, at three times the work.
    if not os.environ.get("OMP_NUM_THREADS"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, which is later
    if list_ or describe is not None:
        from emovox.cli.sets import described, listed

        if describe is None:
            typer.echo(listed(format))
        else:
            typer.echo(described(_chosen(describe, params or (), option="--describe"), format))
        return 0
    sets, output = _asked(paths, data, sets, output)
    from emovox.cli.feature_rows import Plan, of_manifest, of_paths, write

    _check_output(output, data, force=force)
    chosen = _chosen(sets, params or ())
    windows = _windows(window_s, hop_s)
    _check_kinds(chosen, frames=frames, windows=windows)
    jobs = of_manifest(data) if data is not None else of_paths(paths or (), recursive=recursive)
    kept = None if no_store else _store(store, store_max_gb)
    return write(Plan(tuple(jobs), tuple(chosen), frames, windows, workers, kept), output)


# ------------------------------------------------------------------------------------ what was typed


def _asked(
    paths: Sequence[str] | None, data: Path | None, sets: str | None, output: Path | None
) -> tuple[str, Path]:
    """What has to be given; the message names all of it that is not."""
    lacking = [
        *(["--set NAME (--list names them)"] if sets is None else []),
        *(["-o FILE"] if output is None else []),
        *(["recordings, either PATH or --data"] if data is None and not paths else []),
    ]
    if sets is None or output is None or lacking:
        raise typer.BadParameter(f"not given: {'; '.join(lacking)}")
    if data is not None and paths:
        raise typer.BadParameter(f"got {paths[0]!r} and --data {str(data)!r}; expected either PATH or --data")
    return sets, output


def _chosen(names: str, params: Sequence[str], *, option: str = "--set") -> list[FeatureSet]:
    """The sets between the commas, changed by ``KEY=VALUE``, or ``SET:KEY=VALUE`` for one of them."""
    from emovox.features import feature_set

    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found or len(set(found)) < len(found):
        raise typer.BadParameter(f"{option} {names!r}: expected different names, with commas between them")
    changes: dict[str, dict[str, Any]] = {name: {} for name in found}
    for text in params:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"--param {text!r}: expected KEY=VALUE, such as mfcc.n_mfcc=13")
        own = [name for name in found if key.startswith(f"{name}:")]
        for name in own or found:
            changes[name][key.removeprefix(f"{name}:")] = _value(value)
    return [feature_set(name, changes[name] or None) for name in found]


def _value(text: str) -> Any:
    """``13``, ``0.97``, ``true``, ``none``, ``[1, 2]``; anything else is text."""
    with suppress(ValueError, RecursionError):
        return json.loads({"none": "null", "true": "true", "false": "false"}.get(text.lower(), text))
    return text


def _windows(window_s: float | None, hop_s: float | None) -> Windows | None:
    from emovox.features.extraction import Windows

    if window_s is None:
        if hop_s is not None:
            raise typer.BadParameter("--hop-s goes with --window-s; add it")
        return None
    return Windows(window_s, window_s if hop_s is None else hop_s)


def _check_kinds(chosen: Sequence[FeatureSet], *, frames: bool, windows: Windows | None) -> None:
    kind = "frames" if frames else "vector"
    if frames and (len(chosen) > 1 or windows is not None):
        raise typer.BadParameter("--frames takes one set, and no windows")
    for one in chosen:
        if one.kind != kind:
            gives, how = ("one row a recording", "leave out") if frames else ("frames", "add")
            raise typer.BadParameter(
                f"the set {one.name!r} gives {gives}: {how} --frames, or take another set (--list)"
            )


def _check_output(output: Path, data: Path | None, *, force: bool) -> None:
    from emovox.cli.feature_tables import SUFFIXES

    if output.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"-o {str(output)!r}: expected a name that ends with {', '.join(SUFFIXES)}")
    check_new(output, force=force, read=[] if data is None else [data])


def _store(folder: Path | None, max_gb: float | None) -> Store:
    from emovox.features.cache import MAX_GB, Store, default_root

    return Store(folder or default_root(), max_gb=MAX_GB if max_gb is None else max_gb)

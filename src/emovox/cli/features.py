"""``emovox features``: compute feature sets of recordings and write them as a table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.cli.terminal import Progress, say

if TYPE_CHECKING:
    from emovox.cli.feature_tables import RowBlock, TableLayout
    from emovox.features import FeatureSet
    from emovox.features.cache import CacheStats, FeatureCache
    from emovox.features.extraction import Clip, Windows

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
        str | None,
        typer.Option(
            "--set", metavar="NAME[,NAME]", help="What to compute; see --list. Or embedding[:MODEL]."
        ),
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
        typer.Option("--window-s", "--window", metavar="S", help="One row for each window of S seconds."),
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
        typer.Option("--store", metavar="DIR", help="Folder of the feature cache; default: the user's."),
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Neither read nor write the cache.")] = False,
    store_max_gb: Annotated[
        float | None, typer.Option("--store-max-gb", metavar="GB", help="Limit of the cache; default: 10.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sets.")] = False,
    describe: Annotated[
        str | None, typer.Option("--describe", metavar="SET", help="Describe a set and its columns.")
    ] = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="How --list and --describe look.")
    ] = Form.table,
) -> int:
    """Compute features of recordings, a row each.

    Features are cached by content, set and parameters: an interrupted run resumes, and only what has changed
    is computed again. FILE appears when it is complete.

    Exit code: 0 when all recordings worked, 1 when some failed, each a row with its error, 2 when the
    request is not possible.
    """
    # The matrices are small: with threads of its own OpenBLAS takes three times as long.
    if not os.environ.get("OMP_NUM_THREADS"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, which is later
    if describe is not None:
        typer.echo(describe_sets(_find_sets(describe, params or (), option="--describe"), format))
        return 0
    if list_:
        typer.echo(list_sets(format))
        return 0
    missing = [
        *(["--set NAME (--list shows them)"] if sets is None else []),
        *(["-o FILE"] if output is None else []),
        *(["recordings, either PATH or --data"] if data is None and not paths else []),
    ]
    if sets is None or output is None or missing:
        raise typer.BadParameter(f"missing: {'; '.join(missing)}")
    if data is not None and paths:
        raise typer.BadParameter(f"got {paths[0]!r} and --data {str(data)!r}; expected either PATH or --data")
    from emovox.cli.feature_tables import SUFFIXES
    from emovox.features.cache import MAX_GB, FeatureCache, default_folder

    if output.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"-o {str(output)!r}: expected a name that ends with {', '.join(SUFFIXES)}")
    check_new(output, force=force, read=[] if data is None else [data])
    chosen = _find_sets(sets, params or ())
    windows = _make_windows(window_s, hop_s)
    _check_kinds(chosen, frames=frames, windows=windows)
    inputs = _list_manifest(data) if data is not None else _list_paths(paths or (), recursive=recursive)
    max_gb = MAX_GB if store_max_gb is None else store_max_gb
    cache = None if no_store else FeatureCache(store or default_folder(), max_gb=max_gb)
    return _write_table(inputs, chosen, output, frames=frames, windows=windows, workers=workers, cache=cache)


# --- arguments ---------------------------------------------------------------------------------------


def _find_sets(names: str, params: Sequence[str], *, option: str = "--set") -> list[FeatureSet]:
    """Find the sets between the commas, with ``KEY=VALUE``, or ``SET:KEY=VALUE`` for one of them."""
    from emovox.features import find_feature_set

    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found or len(set(found)) < len(found):
        raise typer.BadParameter(f"{option} {names!r}: expected different names, with commas between them")
    overrides: dict[str, dict[str, Any]] = {name: {} for name in found}
    for text in params:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"--param {text!r}: expected KEY=VALUE, such as mfcc.n_mfcc=13")
        own = [name for name in found if key.startswith(f"{name}:")]
        for name in own or found:
            overrides[name][key.removeprefix(f"{name}:")] = _parse_value(value)
    chosen = []
    for name in found:
        if name.partition(":")[0] == "embedding" and not overrides[name]:
            from emovox.inference.embedding import make_embedding_set  # which opens the model

            chosen.append(make_embedding_set(name))
        else:
            chosen.append(find_feature_set(name, overrides[name] or None))
    return chosen


def _parse_value(text: str) -> Any:
    """``13``, ``0.97``, ``true``, ``none``, ``[1, 2]``; anything else is text."""
    with suppress(ValueError, RecursionError):
        return json.loads({"none": "null", "true": "true", "false": "false"}.get(text.lower(), text))
    return text


def _make_windows(window_s: float | None, hop_s: float | None) -> Windows | None:
    from emovox.features.extraction import Windows

    if window_s is None:
        if hop_s is not None:
            raise typer.BadParameter("--hop-s goes with --window-s; add it")
        return None
    return Windows(window_s, window_s if hop_s is None else hop_s)


def _check_kinds(sets: Sequence[FeatureSet], *, frames: bool, windows: Windows | None) -> None:
    kind = "frames" if frames else "vector"
    if frames and (len(sets) > 1 or windows is not None):
        raise typer.BadParameter("--frames takes one set, and no windows")
    for one in sets:
        if one.kind != kind:
            gives, how = ("one row a recording", "leave out") if frames else ("frames", "add")
            raise typer.BadParameter(
                f"the set {one.name!r} gives {gives}: {how} --frames, or take another set (--list)"
            )


# --- recordings --------------------------------------------------------------------------------------

# Columns about the clip in each row; without a manifest only the file.
_CLIP_COLUMNS = ("file", "id", "corpus", "speaker", "emotion")


@dataclass(frozen=True, slots=True)
class _Input:
    """A clip and its texts for `_CLIP_COLUMNS`, or the reason why an argument has none."""

    about: tuple[str | None, ...]
    clip: Clip | None
    problem: str | None = None


def _list_paths(paths: Sequence[str], *, recursive: bool) -> list[_Input]:
    from emovox.cli.sources import STDIN, find_recordings
    from emovox.features.extraction import Clip

    if STDIN in paths:
        raise typer.BadParameter("standard input cannot be read here; save the recording to a file")
    return [
        _Input((source.name,), Clip(source.name, source.name) if source.is_file else None, source.problem)
        for source in find_recordings(paths, recursive=recursive)
    ]


def _list_manifest(data: Path) -> list[_Input]:
    from emovox.datasets.loading import Dataset
    from emovox.features.extraction import list_clips

    found = Dataset.load(data, drop_unknown=True)
    for line in found.notes:
        say(line)
    rows = zip(found.manifest, list_clips(found.manifest), strict=True)
    return [_Input((clip.path, u.id, u.corpus, u.speaker, u.emotion), clip) for u, clip in rows]


# --- the table ---------------------------------------------------------------------------------------


def _write_table(
    inputs: Sequence[_Input],
    sets: Sequence[FeatureSet],
    output: Path,
    *,
    frames: bool,
    windows: Windows | None,
    workers: int,
    cache: FeatureCache | None,
) -> int:
    """Compute, write and report; return the exit code."""
    from emovox.cli.feature_tables import RowBlock, TableLayout, open_table
    from emovox.features.cache import CacheStats
    from emovox.features.extraction import iter_rows

    has_ids = any(len(one.about) > 1 for one in inputs)
    several = len(sets) > 1
    layout = TableLayout(
        _CLIP_COLUMNS if has_ids else _CLIP_COLUMNS[:1],
        ("time_s",) if frames else ("start_s", "end_s"),
        tuple(f"{one.name}.{column}" if several else column for one in sets for column in one.columns),
        [one.reference() for one in sets],
    )
    clips = [one.clip for one in inputs if one.clip is not None]
    computed = iter_rows(clips, sets, frames=frames, windows=windows, workers=workers, cache=cache)
    stats, failed, n_rows = CacheStats(), set(), 0
    progress = Progress(len(inputs), enabled=len(inputs) > 1)

    def blocks() -> Iterator[RowBlock]:
        nonlocal stats
        positions = [n for n, one in enumerate(inputs) if one.clip is not None]
        next_input = 0
        for rows in computed:
            position = positions[rows.index]
            for n in range(next_input, position):
                yield _failed_block(n, inputs[n], layout)
            next_input = position + 1
            stats += rows.stats
            yield RowBlock(position, inputs[position].about, rows.times, rows.values, rows.error)
        for n in range(next_input, len(inputs)):
            yield _failed_block(n, inputs[n], layout)

    try:
        with open_table(output, layout) as table:
            for block in blocks():
                table.add(block)
                n_rows += len(block.values)
                if block.error is not None:
                    failed.add(block.clip)
                    progress.hide()
                    name = f"{block.about[0]}: "  # most errors begin with it
                    say(name + block.error.removeprefix(name))
                progress.at(block.clip + 1)
    except KeyboardInterrupt:
        progress.hide()
        resume = "" if cache is None else "; run it again to resume, what was computed is in the cache"
        say(f"interrupted; {str(output)!r} is not written{resume}")
        return 130
    progress.hide()
    _warn_about_cache(stats, cache)
    failures = f", {_count(len(failed), 'recording')} failed" if failed else ""
    typer.echo(
        f"{_count(n_rows, 'row')} of {len(layout.features)} features of {_count(len(inputs), 'recording')} "
        f"({stats.made} computed, {stats.found} from the cache{failures}): {output}"
    )
    return 1 if failed else 0


def _failed_block(number: int, one: _Input, layout: TableLayout) -> RowBlock:
    import numpy as np

    from emovox.cli.feature_tables import RowBlock

    times = np.full((1, len(layout.times)), np.nan)
    values = np.full((1, len(layout.features)), np.nan, np.float32)
    return RowBlock(number, one.about, times, values, one.problem or "not a recording")


def _warn_about_cache(stats: CacheStats, cache: FeatureCache | None) -> None:
    where = "" if cache is None else f" {str(cache.root)!r}"
    if stats.corrupt:
        say(f"{stats.corrupt} entries of the cache{where} were damaged, and computed again")
    if stats.unwritten:
        say(
            f"{stats.unwritten} entries could not be written to the cache{where}: the disk is full, or the "
            "folder is not writable"
        )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


# --- --list and --describe ---------------------------------------------------------------------------


def list_sets(form: Form) -> str:
    """Return the text of ``--list``."""
    from emovox.cli.data.common import table
    from emovox.features import SETS

    if form is Form.json:
        return json.dumps([_set_record(one) for one in SETS.values()], ensure_ascii=False, indent=2)
    rows = [
        (s.name, "frames" if s.kind == "frames" else "row", s.n_columns, s.extra or "", s.description)
        for s in SETS.values()
    ]
    return "\n".join(
        [
            *table(("set", "gives", "columns", "extra", "what it is"), rows),
            "",
            "encoder:NAME or encoder:FOLDER: embeddings of a pretrained encoder (extra ssl)",
            "A+B: sets that give a row, joined to one set",
        ]
    )


def describe_sets(sets: Sequence[FeatureSet], form: Form) -> str:
    """Return the text of ``--describe``."""
    if form is Form.json:
        records = [{**_set_record(one), "columns": list(one.columns)} for one in sets]
        return json.dumps(records, ensure_ascii=False, indent=2)
    return "\n\n".join(map(_set_page, sets))


def _set_record(one: FeatureSet) -> dict[str, Any]:
    return {
        "set": one.name,
        "overrides": dict(one.overrides),
        "kind": one.kind,
        "n_columns": one.n_columns,
        "hop_s": one.hop_s,
        "description": one.description,
        "source": one.source,
        "licence": one.licence,
        "extra": one.extra,
        "version": one.version,
        "definition": dict(one.definition),
    }


def _set_page(one: FeatureSet) -> str:
    gives = "one row a recording" if one.kind == "vector" else f"one row each {1000 * (one.hop_s or 0):g} ms"
    lines = [
        f"{one.name}: {one.description}",
        f"  gives     {gives}, {len(one.columns)} columns",
        f"  source    {one.source}",
        f"  licence   {one.licence}",
        f"  extra     {one.extra or 'none is needed'}",
        f"  version   {one.version}, digest {one.digest}",
    ]
    for part in one.definition.get("parts", ()):
        lines.append(f"  family    {part['family']}  {_pairs(part['parameters'])}".rstrip())
        lines.append(f"            frames: {_pairs(part['settings'])}")
        if part["statistics"]:
            lines.append(f"            statistics: {' '.join(part['statistics'])}")
    for key, value in one.definition.items():
        if key != "parts" and value is not None:
            lines.append(f"  {key:<8}  {value}")
    lines += ["  columns", "   "]
    for name in one.columns:
        if len(lines[-1]) + 1 + len(name) > 100:
            lines.append("   ")
        lines[-1] += f" {name}"
    return "\n".join(lines)


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={'none' if value is None else value}" for key, value in values.items())

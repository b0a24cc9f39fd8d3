"""The table of a benchmark: protocols side by side, and the gap that lies between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emovox.datasets.splits import STAMPS
from emovox.reports.text import MISSING, markdown_table, percent, signed

__all__ = ["bench_markdown", "systems_markdown"]


def bench_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of ``emovox.training.bench`` as Markdown: one line a corpus, one column a protocol, strictest
    first.

    The gap is the score of the leakiest protocol less that of the strictest, in points.
    """
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    cells = {(row["corpus"], row["protocol"]): row for row in rows}
    protocols = _strictest_first(rows)
    heads = ["corpus", *(f"{name}, UAR %" for name in protocols)]
    gaps = len(protocols) > 1
    table = []
    for corpus in corpora:
        own = [cells.get((corpus, name)) for name in protocols]
        table.append([corpus, *map(_cell, own), *([_gap(own)] if gaps else [])])
    lines = markdown_table([*heads, "gap"] if gaps else heads, table)
    return "\n".join([*lines, "", *_notes(rows)]) + "\n"


def systems_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of several recipes as Markdown: one line a recipe and its corpora, one column a protocol.

    Parameters, training time and speed are means over the folds of the strictest protocol.
    """
    systems = list(dict.fromkeys((row["recipe"], row["corpus"]) for row in rows))
    cells = {(row["recipe"], row["corpus"], row["protocol"]): row for row in rows}
    protocols = _strictest_first(rows)
    gaps = len(protocols) > 1
    heads = ["system", "corpus", "labels", *(f"{name}, UAR %" for name in protocols)]
    table = []
    for system, corpus in systems:
        own = [cells.get((system, corpus, name)) for name in protocols]
        first = next(row for row in own if row is not None)
        table.append(
            [system, corpus, str(first["n_labels"]), *map(_cell, own), *([_gap(own)] if gaps else [])]
        )
        table[-1] += _costs(first)
    heads += [*(["gap"] if gaps else []), "parameters", "training, min", "clips/s"]
    return "\n".join([*markdown_table(heads, table), "", *_notes(rows), _COSTS]) + "\n"


_COSTS = (
    "Training: minutes of processor time for one fold, without the features. Clips/s: from the file to the "
    "answer, one thread, in a second of processor time. Gap: the leakiest protocol less the strictest."
)


def _costs(row: Mapping[str, Any]) -> list[str]:
    n, train_s, speed = row["n_parameters"], row["train_s"], row["clips_per_s"]
    return [
        MISSING if n is None else f"{n:,.0f}".replace(",", " "),
        MISSING if train_s is None else f"{train_s / 60:.2f}",
        MISSING if speed is None else f"{speed:.0f}",
    ]


def _strictest_first(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    worst = {row["protocol"]: 0 for row in rows}
    for row in rows:
        worst[row["protocol"]] = max(worst[row["protocol"]], _place(row))
    return sorted(worst, key=lambda name: worst[name])


def _place(row: Mapping[str, Any]) -> int:
    return STAMPS.index(row["stamp"])


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return MISSING
    uar = row["uar"]
    interval = "" if uar["low"] is None else f" [{percent(uar['low'])}, {percent(uar['high'])}]"
    return f"{percent(uar['value'])}{interval} {row['stamp']}"


def _gap(row: Sequence[Mapping[str, Any] | None]) -> str:
    known = [cell for cell in row if cell is not None]
    if len(known) < 2:
        return MISSING
    return signed(known[-1]["uar"]["value"] - known[0]["uar"]["value"])


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each figure is, and what its test shared with its training."""
    notes = []
    for row in rows:
        n = len(row["folds"])
        notes.append(
            f"- {row['corpus']}, {row['protocol']}: {row['stamp']}; {'; '.join(row['reasons'])}. Recipe "
            f"{row['recipe']}, {n} {'fold' if n == 1 else 'folds'}, {row['n_clips']} clips, mean of folds "
            f"{percent(row['mean_uar'])}, WA {percent(row['wa']['value'])}."
        )
    return [
        *notes,
        "",
        "UAR over all tested clips, with its interval over speakers where there are ten or more.",
    ]

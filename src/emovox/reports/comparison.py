"""The table of a comparison: the chosen system first, and everything that it was chosen among."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.html import badge, escape, page, section, table
from emovox.reports.svg import Rung, ladder
from emovox.reports.text import MISSING, markdown_table, percent, signed, span

__all__ = ["comparison_html", "comparison_markdown"]

Document = Mapping[str, Any]
Times = Sequence[Mapping[str, Any]]

_HEADS = (
    "system",
    "columns",
    "validation UAR",
    "test UAR, %",
    "mean of folds",
    "against the chosen",
    "p",
    "fit s",
    "ms a clip",
)
_NOTE = (
    "UAR over all tested clips, 95 % interval over speakers; p: two-sided, paired over speakers, not "
    "corrected for the number of systems; times: one thread, without the features, a search counted."
)


def comparison_markdown(document: Document, times: Times = ()) -> str:
    """Of `emovox.training.comparison.comparison_document`; times stand beside where there are some."""
    lines = [f"# {_title(document)}", ""]
    for one in document["protocols"]:
        lines += [f"## {one['protocol']}: {one['stamp']}", ""]
        lines += [*(f"- {reason}" for reason in one["reasons"]), "", *_told(one), ""]
        lines += [*markdown_table(_HEADS, _rows(one, times)), ""]
        lines += [f"- {row['model']} on {row['features']}: {row['error']}" for row in _failed(one)]
    return "\n".join([*lines, _NOTE]) + "\n"


def comparison_html(document: Document, times: Times = ()) -> str:
    """The same as a page."""
    parts = [f"<h1>{escape(_title(document))}</h1>"]
    for one in document["protocols"]:
        told = "".join(f"<p>{escape(line)}</p>" for line in _told(one) if line)
        failed = [f"{row['model']} on {row['features']}: {row['error']}" for row in _failed(one)]
        parts.append(
            section(
                one["protocol"],
                badge(one["stamp"], one["reasons"]),
                told,
                *_drawings(one),
                table(_HEADS, _rows(one, times)),
                "".join(f"<p>{escape(line)}</p>" for line in failed),
            )
        )
    return page(_title(document), "\n".join([*parts, f"<footer>{escape(_NOTE)}</footer>"]))


def _title(document: Document) -> str:
    data = document["data"]
    return (
        f"{', '.join(data['corpora'])}: {data['n_clips']} clips, {data['n_speakers']} speakers, "
        f"{len(data['emotions'])} emotions"
    )


def _told(one: Mapping[str, Any]) -> Iterator[str]:
    chosen, headline, own = one["chosen"], one["headline"], one["each_fold_its_own"]
    name = f"{chosen['model']} on {chosen['features']}"
    if headline is None:
        yield f"Chosen on the validation speakers: {name}, which failed on the test."
        return
    yield (
        f"Chosen on the validation speakers, before the test was opened: {name}. Its UAR on the test: "
        f"{_span(headline)}."
    )
    if own is not None and len(one["splits"]) > 1:
        yield f"Each fold answered by the best on its own validation speakers: {_span(own)}."


def _rows(one: Mapping[str, Any], times: Times) -> list[list[str]]:
    spent = {(t["protocol"], t["features"], t["model"]): t for t in times}
    return [
        _row(row, _is_chosen(row, one), spent.get((one["protocol"], row["features"], row["model"])))
        for row in _known(one)
    ]


def _known(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Systems that did not fail, best validation first, as they would have been chosen."""
    known = [row for row in one["systems"] if not row["error"]]
    return sorted(known, key=lambda row: -row["validation_uar"])


def _is_chosen(row: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    return {key: row[key] for key in ("features", "model")} == dict(one["chosen"])


def _row(row: Mapping[str, Any], mine: bool, spent: Mapping[str, Any] | None) -> list[str]:
    against = row["against_chosen"]
    return [
        f"{_name(row)}{' (chosen)' if mine else ''}",
        _counts(row["n_columns"]),
        percent(row["validation_uar"]),
        _span(row["test"]),
        percent(row["test"]["mean_uar"]),
        _gap(against) if against else MISSING,
        f"{against['p']:.3f}" if against and against["p"] is not None else MISSING,
        f"{max(spent['fit_s'], spent['first_fit_s']):.1f}" if spent else MISSING,
        f"{spent['predict_ms']:.2f}" if spent else MISSING,
    ]


def _counts(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _failed(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in one["systems"] if row["error"]]


def _span(test: Mapping[str, Any]) -> str:
    return span(test["uar"], test["low"], test["high"])


def _gap(against: Mapping[str, Any]) -> str:
    """A difference in points, with its interval."""
    low, high = against.get("low"), against.get("high")
    told = "" if low is None or high is None else f" [{signed(low)}, {signed(high)}]"
    return f"{signed(against['value'])}{told}"


# --- drawings -------------------------------------------------------------------------------------


def _drawings(one: Mapping[str, Any]) -> Iterator[str]:
    """Scores, and differences from the chosen system, each with its interval."""
    scores = [_scored(row, mine=_is_chosen(row, one)) for row in _known(one)]
    gaps = [_differing(row) for row in _known(one) if row["against_chosen"] and not _is_chosen(row, one)]
    ring = next((rung.value for rung in scores if rung.is_ring), None)
    yield _figure(scores, "UAR on the test, %", ring, "Ring: chosen.")
    yield _figure(gaps, "difference in UAR, points", 0.0, "Against the chosen, on the same clips.")


def _figure(rungs: Sequence[Rung], title: str, mark: float | None, told: str) -> str:
    if not rungs:
        return ""
    drawing = ladder(rungs, title=title, mark=mark, span=_reach(rungs, mark))
    ranged = any(rung.low is not None for rung in rungs)
    told += " Lines: 95 % intervals over speakers." if ranged else " Too few speakers for intervals."
    return f'<figure class="wide">{drawing}<figcaption>{escape(told)}</figcaption></figure>'


def _reach(rungs: Sequence[Rung], mark: float | None) -> tuple[float, float]:
    """The ends of the axis: tenths around everything that is drawn."""
    ends = [v for rung in rungs for v in (rung.value, rung.low, rung.high, mark) if v is not None]
    low, high = math.floor(10 * min(ends) + 1e-9) / 10, math.ceil(10 * max(ends) - 1e-9) / 10
    return low, max(high, low + 0.1)


def _scored(row: Mapping[str, Any], *, mine: bool) -> Rung:
    test, shown = row["test"], _span(row["test"])
    name = _name(row)
    return Rung(name, test["uar"], test["low"], test["high"], f"{name}: {shown} %", shown, is_ring=mine)


def _differing(row: Mapping[str, Any]) -> Rung:
    against, shown = row["against_chosen"], _gap(row["against_chosen"])
    told = f"{_name(row)}: {shown} points"
    return Rung(_name(row), against["value"], against.get("low"), against.get("high"), told, shown)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['model']} on {row['features']}"

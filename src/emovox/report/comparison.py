"""The table of a comparison: the chosen system first, and everything that it was chosen among."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.report.html import badge, escape, page, section, table
from emovox.report.text import MISSING, markdown_table, percent, signed

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
    """Of `emovox.comparison.comparison_document`; times stand beside where there are some."""
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
    """Best validation first, as they would have been chosen."""
    known = [row for row in one["systems"] if not row["error"]]
    spent = {(t["protocol"], t["features"], t["model"]): t for t in times}
    return [
        _row(row, one["chosen"], spent.get((one["protocol"], row["features"], row["model"])))
        for row in sorted(known, key=lambda row: -row["validation_uar"])
    ]


def _row(row: Mapping[str, Any], chosen: Mapping[str, Any], spent: Mapping[str, Any] | None) -> list[str]:
    mine = {key: row[key] for key in ("features", "model")} == dict(chosen)
    against = row["against_chosen"]
    return [
        f"{row['model']} on {row['features']}{' (chosen)' if mine else ''}",
        _counts(row["n_columns"]),
        percent(row["validation_uar"]),
        _span(row["test"]),
        percent(row["test"]["mean_uar"]),
        signed(against["value"]) if against else MISSING,
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
    low, high = test["low"], test["high"]
    interval = "" if low is None else f" [{percent(low)}, {percent(high)}]"
    return f"{percent(test['uar'])}{interval}"

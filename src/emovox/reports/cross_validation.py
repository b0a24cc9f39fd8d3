"""The report of a cross-validation: all systems under all protocols, and the chosen one of each protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.datasets.splits import STAMPS
from emovox.reports.evaluation import NO_FIGURES
from emovox.reports.figures import ScoreLine, draw_intervals, figure_html, has_matplotlib
from emovox.reports.html import badge, escape, heat_table, page, section, table
from emovox.reports.text import MISSING, markdown_table, percent, signed, span, speakers
from emovox.reports.values import comparison_table, fold_tables

__all__ = ["cross_validation_html", "cross_validation_markdown", "overview_markdown"]

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
    "corrected for the number of systems; times: of the processor, one thread, a search included."
)

_VALUE_NOTE = (
    "Scores over all tested clips together, 95 % intervals over speakers. CCC: concordance; MAE: mean "
    "absolute error, beside that of predicting the mean of the test for every clip."
)


def cross_validation_markdown(document: Document, times: Times = ()) -> str:
    """Format the document of `emovox.training.cross_validation` as Markdown, with times if there are any."""
    if "targets" in document:
        return _value_markdown(document)
    lines = [f"# {_title(document)}", ""]
    if len(document["protocols"]) > 1:
        lines += [*markdown_table(*_overview(document, times)), ""]
    for one in document["protocols"]:
        lines += [f"## {one['protocol']}: {one['stamp']}", ""]
        lines += [*(f"- {reason}" for reason in one["reasons"]), "", *_summarise(one), ""]
        lines += [*markdown_table(_HEADS, _rows(one, times)), ""]
        lines += [f"- {row['name']}: {row['error']}" for row in _failed(one)]
    return "\n".join([*lines, _NOTE]) + "\n"


def overview_markdown(document: Document, times: Times = ()) -> str:
    """Format as Markdown one line per system, one column per protocol, and what each test shared.

    The strictest protocol comes first. The gap is the score under the leakiest protocol less that under the
    strictest, in points.
    """
    if "targets" in document:
        return _value_markdown(document)
    notes = []
    for one in document["protocols"]:
        n = len(one["splits"])
        tested = next((row["test"]["n_clips"] for row in _fitted(one)), 0)
        notes.append(
            f"- {one['corpus']}, {one['protocol']}: {one['stamp']}; {'; '.join(one['reasons'])}. "
            f"{n} {'fold' if n == 1 else 'folds'}, {tested} clips."
        )
        notes += [f"- {row['name']}: {row['error']}" for row in _failed(one)]
    return "\n".join([*markdown_table(*_overview(document, times)), "", *notes, "", _NOTE]) + "\n"


def cross_validation_html(document: Document, times: Times = ()) -> str:
    """Format the document as a page that needs no other file."""
    if "targets" in document:
        return _value_html(document)
    parts = [f"<h1>{escape(_title(document))}</h1>"]
    if not has_matplotlib():
        parts.append(f'<p class="soft">{escape(NO_FIGURES)}</p>')
    if len(document["protocols"]) > 1:
        parts.append(table(*_overview(document, times)))
    for one in document["protocols"]:
        summary = "".join(f"<p>{escape(line)}</p>" for line in _summarise(one) if line)
        failed = [f"{row['name']}: {row['error']}" for row in _failed(one)]
        parts.append(
            section(
                one["protocol"],
                badge(one["stamp"], one["reasons"]),
                summary,
                *_drawings(one),
                table(_HEADS, _rows(one, times)),
                "".join(f"<p>{escape(line)}</p>" for line in failed),
                *_confusions(one),
            )
        )
    return page(_title(document), "\n".join([*parts, f"<footer>{escape(_NOTE)}</footer>"]))


def _value_markdown(document: Document) -> str:
    """Format the cross-validation of models of values as Markdown."""
    lines = [f"# {_title(document)}", ""]
    for one in document["protocols"]:
        lines += [f"## {one['protocol']}: {one['stamp']}", ""]
        lines += [*(f"- {reason}" for reason in one["reasons"]), "", _describe_choice(one), ""]
        lines += [*markdown_table(*comparison_table(one)), ""]
        lines += [f"- {row['name']}: {row['error']}" for row in _failed(one)]
    return "\n".join([*lines, _VALUE_NOTE]) + "\n"


def _value_html(document: Document) -> str:
    """Format the cross-validation of models of values as a page."""
    parts = [f"<h1>{escape(_title(document))}</h1>"]
    for one in document["protocols"]:
        failed = [f"{row['name']}: {row['error']}" for row in _failed(one)]
        folds = [
            f"<details><summary>{escape(title)}</summary>{table(*content)}</details>"
            for title, content in fold_tables(one)
        ]
        parts.append(
            section(
                one["protocol"],
                badge(one["stamp"], one["reasons"]),
                f"<p>{escape(_describe_choice(one))}</p>",
                table(*comparison_table(one)),
                *folds,
                "".join(f"<p>{escape(line)}</p>" for line in failed),
            )
        )
    return page(_title(document), "\n".join([*parts, f"<footer>{escape(_VALUE_NOTE)}</footer>"]))


def _describe_choice(one: Mapping[str, Any]) -> str:
    if one["chosen"] is None:
        return "No part validates, so nothing was chosen."
    return (
        f"Chosen by the CCC on the validation parts, before the test was predicted: {one['chosen']['name']}."
    )


def _title(document: Document) -> str:
    data = document["data"]
    predicted = f"{len(data['emotions'])} emotions"
    if "targets" in document:
        predicted = f"values of {', '.join(document['targets'])}"
    return (
        f"{', '.join(data['corpora'])}: {data['n_clips']} clips, {speakers(data['n_speakers'])}, {predicted}"
    )


def _overview(document: Document, times: Times) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a row per system and corpus, a column per protocol."""
    worst: dict[str, int] = {}
    cells: dict[tuple[str, str, str], tuple[Mapping[str, Any], str]] = {}
    for one in document["protocols"]:
        worst[one["protocol"]] = max(worst.get(one["protocol"], 0), STAMPS.index(one["stamp"]))
        for row in _fitted(one):
            cells[row["name"], one["corpus"], one["protocol"]] = row, one["stamp"]
    protocols = sorted(worst, key=lambda name: worst[name])
    spent = {(t["name"], t["corpus"], t["protocol"]): t for t in times}
    heads = ["system", "corpus", "labels", *(f"{name}, UAR %" for name in protocols)]
    heads += [*(["gap"] if len(protocols) > 1 else []), "parameters", "fit s", "ms a clip"]
    rows = []
    for name, corpus in dict.fromkeys(key[:2] for key in cells):
        found = [cells.get((name, corpus, protocol)) for protocol in protocols]
        known = [(row, stamp) for row, stamp in (cell for cell in found if cell is not None)]
        first = known[0][0]
        took = next((spent[name, corpus, p] for p in protocols if (name, corpus, p) in spent), None)
        gap = known[-1][0]["test"]["uar"] - first["test"]["uar"]
        rows.append(
            [
                name,
                corpus,
                str(first["test"]["n_labels"]),
                *(MISSING if cell is None else f"{_span(cell[0]['test'])} {cell[1]}" for cell in found),
                *([signed(gap) if len(known) > 1 else MISSING] if len(protocols) > 1 else []),
                f"{first['n_parameters']:,}".replace(",", " ") if first.get("n_parameters") else MISSING,
                f"{took['fit_s']:.1f}" if took else MISSING,
                f"{took['predict_ms']:.2f}" if took else MISSING,
            ]
        )
    return heads, rows


def _summarise(one: Mapping[str, Any]) -> Iterator[str]:
    chosen, headline, own = one["chosen"], one["headline"], one["each_fold_its_own"]
    if chosen is None:
        yield "No part validates, so nothing was chosen."
        return
    if headline is None:
        yield f"Chosen on the validation parts: {chosen['name']}, which failed on the test."
        return
    yield (
        f"Chosen on the validation parts, before the test was predicted: {chosen['name']}. Its UAR on the "
        f"test: {_span(headline)}."
    )
    if own is not None and len(one["splits"]) > 1 and len(one["systems"]) > 1:
        yield f"Each fold predicted by the best system on its own validation speakers: {_span(own)}."


def _rows(one: Mapping[str, Any], times: Times) -> list[list[str]]:
    spent = {(t["protocol"], t["corpus"], t["name"]): t for t in times}
    rows = []
    for row in _fitted(one):
        against, took = row["against_chosen"], spent.get((one["protocol"], one["corpus"], row["name"]))
        low, high = min(row["n_columns"]), max(row["n_columns"])
        rows.append(
            [
                f"{row['name']}{' (chosen)' if _is_chosen(row, one) else ''}",
                str(low) if low == high else f"{low} to {high}",
                MISSING if row["validation_uar"] is None else percent(row["validation_uar"]),
                _span(row["test"]),
                percent(row["test"]["mean_uar"]),
                _gap(against) if against else MISSING,
                f"{against['p']:.3f}" if against and against["p"] is not None else MISSING,
                f"{max(took['fit_s'], took['first_fit_s']):.1f}" if took else MISSING,
                f"{took['predict_ms']:.2f}" if took else MISSING,
            ]
        )
    return rows


def _fitted(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Systems that did not fail, best validation first, as they would have been chosen."""
    fitted = [row for row in one["systems"] if not row["error"]]
    return sorted(fitted, key=lambda row: -(row["validation_uar"] or 0.0))


def _is_chosen(row: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    return one["chosen"] is not None and row["name"] == one["chosen"]["name"]


def _failed(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in one["systems"] if row["error"]]


def _span(test: Mapping[str, Any]) -> str:
    return span(test["uar"], test["low"], test["high"])


def _gap(against: Mapping[str, Any]) -> str:
    """A difference in points, with its interval."""
    low, high = against.get("low"), against.get("high")
    interval = "" if low is None or high is None else f" [{signed(low)}, {signed(high)}]"
    return f"{signed(against['value'])}{interval}"


def _confusions(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield the confusion matrix of every system; that of the chosen one is open."""
    rows = _fitted(one)
    for row in rows:
        labels, counts = row["test"]["confusion"]["labels"], row["test"]["confusion"]["counts"]
        known = [(label, line) for label, line in zip(labels, counts, strict=True) if any(line)]
        caption = f"{row['name']}, in clips; the deeper the colour, the larger the share of the row."
        matrix = heat_table(
            [label for label, _ in known], labels, [line for _, line in known], caption=caption
        )
        is_open = " open" if len(rows) == 1 or _is_chosen(row, one) else ""
        title = escape(f"Confusion matrix: {row['name']}")
        yield f"<details{is_open}><summary>{title}</summary>{matrix}</details>"


def _drawings(one: Mapping[str, Any]) -> Iterator[str]:
    """Draw the scores, and the differences from the chosen system, each with its interval."""
    scores, gaps = [], []
    for row in _fitted(one):
        test, against, ring = row["test"], row["against_chosen"], _is_chosen(row, one)
        scores.append(
            ScoreLine(row["name"], test["uar"], test["low"], test["high"], _span(test), is_reference=ring)
        )
        if against:
            low, high = against.get("low"), against.get("high")
            gaps.append(ScoreLine(row["name"], against["value"], low, high, _gap(against)))
    mark = next((line.value for line in scores if line.is_reference), None)
    intro = "Ring: chosen. " if mark is not None else ""
    yield from _draw(scores, "UAR on the test, %", mark, intro)
    yield from _draw(gaps, "difference in UAR, points", 0.0, "Against the chosen, on the same clips. ")


def _draw(lines: Sequence[ScoreLine], axis: str, mark: float | None, caption: str) -> Iterator[str]:
    if lines:
        yield figure_html(draw_intervals, lines, axis=axis, mark=mark, description=axis)
        has_intervals = any(line.low is not None for line in lines)
        caption += (
            "Lines: 95 % intervals over speakers." if has_intervals else "Too few speakers for intervals."
        )
        yield f'<p class="soft">{escape(caption)}</p>'

"""What the pages of an evaluation say of each emotion: how many were recognised, and taken for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emovox.reports.colours import colour
from emovox.reports.html import escape, heat_table, table
from emovox.reports.svg import Rung, ladder
from emovox.reports.text import MISSING, figure, percent, span

__all__ = ["class_table", "confusion_html", "recalls_html"]

Document = Mapping[str, Any]


def class_table(document: Document) -> tuple[list[str], list[list[object]]]:
    """Heads and rows: the emotions that occur, or were answered."""
    heads = ["emotion", "clips", "answers", "recall %", "interval (95 %)", "precision %", "F1 %", "AUC"]
    return heads, [
        [
            row["label"],
            row["n"],
            row["n_answers"],
            percent(row["recall"]),
            _bounds(row),
            percent(row["precision"]) if row["n_answers"] else MISSING,
            percent(row["f1"]) if row["n"] else MISSING,
            figure(row["auc"]),
        ]
        for row in document["classes"]
        if row["n"] or row["n_answers"]
    ]


def recalls_html(document: Document) -> Iterator[str]:
    """A bar an emotion, with its interval over speakers where there is one; below it the table."""
    rows = [row for row in document["classes"] if row["recall"] is not None]
    chance = document["scores"]["chance"]
    if rows:
        drawing = ladder([_bar(row) for row in rows], title="recall, %", mark=chance)
        ranged = any(row.get("recall_low") is not None for row in rows)
        told = "Lines: 95 % intervals over speakers. " if ranged else "Too few speakers for intervals. "
        told = f"Share of the clips of an emotion that were recognised. {told}Broken line: chance."
        yield f'<figure class="wide">{drawing}<figcaption>{escape(told)}</figcaption></figure>'
    yield table(*class_table(document))


def confusion_html(confusion: Mapping[str, Any]) -> Iterator[str]:
    """The confusion matrix in clips, and in per cent of each row."""
    true, answered, counts = confusion["true"], confusion["answered"], confusion["counts"]
    deep = "the deeper the colour, the larger the share of the row."
    yield heat_table(true, answered, counts, caption=f"In clips; {deep}")
    yield heat_table(true, answered, counts, caption="In per cent of each row.", shares=True)


def _bar(row: Mapping[str, Any]) -> Rung:
    value, low, high = row["recall"], row.get("recall_low"), row.get("recall_high")
    shown = span(value, low, high)
    told = f"{row['label']}: {shown} % of {row['n']} clips"
    return Rung(f"{row['label']} ({row['n']})", value, low, high, told, shown, colour(row["label"]))


def _bounds(row: Mapping[str, Any]) -> str:
    low, high = row.get("recall_low"), row.get("recall_high")
    return MISSING if low is None or high is None else f"{percent(low)} to {percent(high)}"

"""The part of an evaluation's report that is about continuous values, such as arousal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.figures import draw_values, figure_html
from emovox.reports.html import escape, section, table
from emovox.reports.text import MISSING, figure, markdown_table

__all__ = [
    "comparison_table",
    "fold_tables",
    "value_facts",
    "value_lines",
    "value_markdown",
    "value_sections",
    "value_summary",
]

Row = Mapping[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[object]]]

_FEW = "There is no interval under ten speakers, nor where some resample of them has one value alone."


def value_lines(document: Row) -> Iterator[str]:
    """Yield a line for a terminal for each target."""
    rows = document.get("values", ())
    width = max((len(row["target"]) for row in rows), default=0)
    for row in rows:
        yield (
            f"  {row['target']:{width}}  CCC {_span(row['ccc'])}, PCC {_span(row['pcc'])}, "
            f"MAE {_span(row['mae'])}{_unit(row)} (of the mean {figure(row['mae_of_mean'])}); {_count(row)}"
        )


def value_markdown(document: Row) -> Iterator[str]:
    """Yield the lines of the section, none for a document without values."""
    rows = document.get("values", ())
    if not rows:
        return
    yield from ("## Values", "", *markdown_table(*_score_table(rows)), "")
    if any(row["ccc"] and row["ccc"]["low"] is None for row in rows):
        yield from (_FEW, "")
    for row in rows:
        if row["splits"]:
            yield from (f"### {row['target']}: splits", "", *markdown_table(*_split_table(row)), "")
        yield from (f"### {row['target']}: speakers", "", *markdown_table(*_speaker_table(row)), "")


def value_sections(document: Row) -> Iterator[str]:
    """Yield the sections of the page, none for a document without values."""
    rows = document.get("values", ())
    if not rows:
        return
    few = any(row["ccc"] and row["ccc"]["low"] is None for row in rows)
    yield section(
        "Values",
        table(*_score_table(rows)),
        f'<p class="soft">{escape(_FEW)}</p>' if few else "",
        '<p class="soft">CCC: concordance, 1 where every value is right, 0 for values that say nothing. A '
        "bias or a wrong spread lowers it, but not the correlation PCC. MAE: mean absolute error; of the "
        "mean: that of predicting the mean of the test for every clip.</p>",
    )
    for row in rows:
        if not row["points"]:
            continue
        parts = [
            figure_html(draw_values, row, description=f"True and predicted {row['target']} of the clips"),
            '<p class="soft">On the broken line prediction and truth are equal. Boxes, where there are few '
            "different true values: quartiles and median; whiskers: 5th and 95th percentile.</p>",
            f"<details><summary>Each speaker</summary>{table(*_speaker_table(row))}</details>",
        ]
        if row["splits"]:
            parts.insert(1, table(*_split_table(row)))
        yield section(row["target"].capitalize(), *parts)


def value_summary(document: Row) -> str:
    """Return the table of scores as HTML, empty for a document without values."""
    rows = document.get("values", ())
    return table(*_score_table(rows)) if rows else ""


def value_facts(document: Row) -> Iterator[list[str]]:
    """Yield rows of facts about the targets of the model."""
    for target in document["model"].get("targets", ()):
        words = ", ".join(f"{word} = {value:g}" for word, value in target["words"].items())
        unit = f" {target['unit']}" if target["unit"] else ""
        span = f"{target['low']:g} to {target['high']:g}{unit} in the training"
        yield [f"target {target['name']}", span + (f"; {words}" if words else "")]


def comparison_table(one: Row) -> Table:
    """Return a row for each system and target under one protocol, the best validation first."""
    fitted = sorted(
        (row for row in one["systems"] if not row["error"]), key=lambda row: -(row["validation_ccc"] or 0.0)
    )
    chosen = (one["chosen"] or {}).get("name")
    heads = ["system", "validation CCC", "target", "clips", "CCC", "PCC", "MAE", "MAE of the mean"]
    return heads, [
        [
            row["name"] + (" (chosen)" if row["name"] == chosen else ""),
            figure(row["validation_ccc"]),
            scored["target"] + _unit(scored).replace(" ", ", "),
            scored["n_clips"],
            *(_span(scored[name]) for name in ("ccc", "pcc", "mae")),
            figure(scored["mae_of_mean"]),
        ]
        for row in fitted
        for scored in row.get("values", ())
    ]


def fold_tables(one: Row) -> Iterator[tuple[str, Table]]:
    """Yield a title and the scores of each split, for each system and target under one protocol."""
    for row in one["systems"]:
        for scored in row.get("values", ()):
            if scored["splits"]:
                yield f"{row['name']}, {scored['target']}: each split", _split_table(scored)


def _span(interval: Row | None) -> str:
    if interval is None or interval["low"] is None:
        return figure(None if interval is None else interval["value"])
    return f"{figure(interval['value'])} [{figure(interval['low'])}, {figure(interval['high'])}]"


def _unit(row: Row) -> str:
    return f" {row['unit']}" if row["unit"] else ""


def _count(row: Row) -> str:
    left_out = {"without a value": row["n_missing"], "not predicted": row["n_unpredicted"]}
    rest = "".join(f", {n} {why}" for why, n in left_out.items() if n)
    return f"{row['n_clips']} clips{rest}"


def _score_table(rows: Sequence[Row]) -> Table:
    def moments(one: Row | None) -> str:
        return MISSING if one is None else f"{figure(one['mean'])} ± {figure(one['deviation'])}"

    heads = ["target", "clips", "CCC", "PCC", "MAE", "MAE of the mean", "true", "predicted", "left out"]
    return heads, [
        [
            row["target"] + _unit(row).replace(" ", ", "),
            row["n_clips"],
            *(_span(row[name]) for name in ("ccc", "pcc", "mae")),
            figure(row["mae_of_mean"]),
            moments(row["true"]),
            moments(row["predicted"]),
            row["n_missing"] + row["n_unpredicted"],
        ]
        for row in rows
    ]


def _speaker_table(row: Row) -> Table:
    return ["speaker", "clips", "CCC", "MAE", "bias"], [
        [
            "unknown" if one["speaker"] is None else one["speaker"],
            one["n_clips"],
            figure(one["ccc"]),
            figure(one["mae"]),
            f"{one['bias']:+.3f}",
        ]
        for one in row["speakers"]
    ]


def _split_table(row: Row) -> Table:
    return ["split", "clips", "CCC", "PCC", "MAE"], [
        [one["split"], one["n_clips"], *(figure(one[name]) for name in ("ccc", "pcc", "mae"))]
        for one in row["splits"]
    ]

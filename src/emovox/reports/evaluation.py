"""The report of an evaluation as lines for a terminal, as Markdown and as an HTML page.

All are made from the document of `emovox.evaluation.scorecard`; no score is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.colours import colour
from emovox.reports.figures import (
    ScoreLine,
    draw_calibration,
    draw_intervals,
    draw_speakers,
    draw_training,
    figure_html,
    has_matplotlib,
)
from emovox.reports.html import Bar, badge, bar_table, escape, heat_table, page, section, table
from emovox.reports.text import MISSING, bounds, figure, markdown_table, percent, signed, span, speakers
from emovox.reports.values import value_facts, value_lines, value_markdown, value_sections, value_summary

__all__ = ["NO_FIGURES", "evaluation_html", "evaluation_lines", "evaluation_markdown"]

Document = Mapping[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[object]]]

NO_FIGURES = "Figures are missing, as matplotlib is not installed (extra plot)."

_FOOT = "Expressed emotion, not what a person feels. Written by emovox"
_FEW = "There is no interval under ten speakers; the value of each speaker is listed instead."


def evaluation_lines(document: Document) -> Iterator[str]:
    """Yield a few lines for a terminal."""
    stamp = document["stamp"]
    yield _title(document)
    yield f"  stamp     {stamp['stamp']}"
    yield from (f"            {reason}" for reason in stamp["reasons"])
    if "scores" in document:
        yield from _label_lines(document)
    yield from value_lines(document)


def _label_lines(document: Document) -> Iterator[str]:
    scores = document["scores"]
    yield f"  UAR       {_span(scores['uar'])}   (chance {percent(scores['chance'])})"
    yield f"  WA        {_span(scores['wa'])}"
    yield f"  macro F1  {percent(scores['macro_f1'])}"
    yield f"  ECE       {figure(scores['ece'])}"
    if soft := scores.get("soft"):
        yield (
            f"  soft      cross entropy {figure(soft['cross_entropy'])} nats (of the labels themselves "
            f"{figure(soft['entropy'])}), Jensen-Shannon {figure(soft['jensen_shannon'])} bits; "
            f"{soft['n_soft']} of {soft['n_clips']} clips have several labels"
        )
    yield (
        f"  answers   {percent(scores['coverage'])} % of the clips; "
        f"UAR of those {percent(scores['answered_uar'])}"
    )
    for one in document["groups"]:
        if len(one["rows"]) > 1:
            groups = ", ".join(f"{_name_group(row['group'])} {_group_span(row)}" for row in one["rows"])
            yield f"  by {one['by']:<8} {groups}; gap {_gap_span(one)}"
    if scores["uar"]["low"] is None and len(document["speakers"]) > 1:
        each = ", ".join(
            f"{_name_group(row['speaker'])} {percent(row['uar'])}" for row in document["speakers"]
        )
        yield f"  speakers  {each}"
    if "robustness" in document:
        part = document["robustness"]
        heads, rows = _robustness_table(part)
        cells = [[str(cell) for cell in row] for row in (heads, *rows)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
        yield f"  robustness, {_describe_robustness(part)}"
        for row in cells:
            numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            yield "    " + "  ".join((row[0].ljust(widths[0]), *numbers))
        yield from (f"    {note}" for note in part["notes"])


def evaluation_markdown(document: Document) -> str:
    """Format the report as Markdown."""
    lines = [f"# {_title(document)}", "", f"**Stamp: {document['stamp']['stamp']}**", ""]
    lines += [f"- {reason}" for reason in document["stamp"]["reasons"]]
    lines += [""]
    if "scores" in document:
        lines += _label_markdown(document)
    lines += value_markdown(document)
    if "training" in document:
        lines += ["## Training", "", _describe_training(document["training"]), ""]
    lines += _block("Model and data", (["", ""], _facts(document)))
    if document["errors"]:
        outcome = "counted as wrong" if "scores" in document else "not scored"
        lines += _block(f"Clips that could not be read ({outcome})", _error_table(document))
    return "\n".join(lines).rstrip() + f"\n\n{_FOOT} {document['emovox']}.\n"


def _label_markdown(document: Document) -> list[str]:
    lines = _block("Scores", _score_table(document))
    if document["scores"]["uar"]["low"] is None:
        lines += [_describe_no_interval(document), ""]
    lines += _block("Classes", _class_table(document))
    confusion = document["confusion"]
    counts = [[name, *line] for name, line in zip(confusion["true"], confusion["counts"], strict=True)]
    lines += _block("Confusion (rows true, columns predicted)", (["", *confusion["answered"]], counts))
    for one in _divisions(document):
        lines += [*_block(f"By {one['by']}", _group_table(one)), _describe_gap(one), ""]
    lines += [_describe_undivided(document), ""]
    lines += _block("Splits", _split_table(document)) if document["splits"] else []
    lines += _block("Speakers", _speaker_table(document))
    lines += _block("Reliability", _reliability_table(document))
    if "robustness" in document:
        part = document["robustness"]
        lines += _block("Robustness", _robustness_table(part))
        lines += [f"{_describe_robustness(part)}.", *part["notes"], ""]
    return lines


def evaluation_html(document: Document) -> str:
    """Format the report as an HTML page that needs no other file."""
    title, data = _title(document), document["data"]
    has_labels = "scores" in document
    targets = [row["target"] for row in document.get("values", ())]
    predicted = [f"{len(data['emotions'])} emotions"] if has_labels else []
    predicted += [f"values of {', '.join(targets)}"] if targets else []
    summary = (
        f"{data['n_clips']} clips of {speakers(data['n_speakers'])}, {', '.join(predicted)}. "
        f"{'Scores in per cent; intervals' if has_labels else 'Intervals'} (95 %) are over speakers."
    )
    facts = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in _facts(document))
    body = [
        f'<header><h1>{escape(title)}</h1>\n<p class="soft">{escape(summary)}</p></header>',
        "" if has_matplotlib() else f'<p class="soft">{escape(NO_FIGURES)}</p>',
        badge(document["stamp"]["stamp"], document["stamp"]["reasons"]),
        *(_label_sections(document) if has_labels else ()),
        *value_sections(document),
        section("Training", *_training_html(document["training"])) if "training" in document else "",
        section("Model and data", f"<dl>{facts}</dl>"),
        section(
            "Clips that could not be read",
            f"<p>{'They count as wrong.' if has_labels else 'They are not scored.'}</p>",
            table(*_error_table(document), words=True),
        )
        if document["errors"]
        else "",
        f"<footer>{escape(_FOOT)} {escape(document['emovox'])}.</footer>",
    ]
    return page(title, "\n".join(part for part in body if part))


def _label_sections(document: Document) -> list[str]:
    confusion = document["confusion"]
    matrix = confusion["true"], confusion["answered"], confusion["counts"]
    groups = [table(*_group_table(one), foot=_describe_gap(one)) for one in _divisions(document)]
    return [
        _score_tiles(document),
        section("Speakers", *_speakers_html(document)),
        section("Recall of each emotion", *_recalls_html(document), table(*_class_table(document))),
        section(
            "Confusion",
            heat_table(*matrix, caption="In clips; the deeper the colour, the larger the share of the row."),
            heat_table(*matrix, caption="In per cent of each row.", shares=True),
        ),
        section(
            "Groups",
            f'<div class="row">{"".join(groups)}</div>' if groups else "",
            f'<p class="soft">{escape(_describe_undivided(document))}</p>',
        ),
        section("Splits", table(*_split_table(document))) if document["splits"] else "",
        section("Calibration", *_calibration_html(document)),
        section("Robustness", *_robustness_html(document["robustness"])) if "robustness" in document else "",
    ]


def evaluation_summary(document: Document, *, folder: str | None = None) -> str:
    """Format stamp, scores and recalls as a fragment of HTML, for notebooks.

    Args:
        document: of `emovox.evaluation.scorecard`.
        folder: where the run and its whole report are.
    """
    scores, data = document.get("scores"), document["data"]
    where = f"<p>Bundle, report and predictions: <code>{escape(folder)}</code></p>" if folder else ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in document["stamp"]["reasons"])
    summary = (
        f"{data['n_clips']} clips of {speakers(data['n_speakers'])}; "
        f"stamp <b>{escape(document['stamp']['stamp'])}</b>"
    )
    classes = ""
    if scores is not None:
        summary = f"<b>UAR {_span(scores['uar'])} %</b> (chance {percent(scores['chance'])}), {summary}"
        classes = table(*_class_table(document))
    return (
        f"<div><h4>{escape(_title(document))}</h4><p>{summary}</p><ul>{reasons}</ul>{where}"
        f"{classes}{value_summary(document)}</div>"
    )


# --- texts and tables -----------------------------------------------------------------------------


def _title(document: Document) -> str:
    model, corpora = document["model"], ", ".join(document["data"]["corpora"])
    return f"{model['name']} {model['version']} on {corpora}, protocol {document['protocol']['name']}"


def _span(interval: Mapping[str, Any]) -> str:
    return span(interval["value"], interval["low"], interval["high"])


def _block(title: str, content: Table) -> list[str]:
    return [f"## {title}", "", *markdown_table(*content), ""]


def _describe_no_interval(document: Document) -> str:
    unknown = document["data"]["n_speakers"] is None
    return "There is no interval, as the speakers are unknown." if unknown else _FEW


def _group_span(row: Mapping[str, Any]) -> str:
    return span(row["uar"], row.get("uar_low"), row.get("uar_high"))


def _gap_span(one: Mapping[str, Any]) -> str:
    return span(one["gap"], one.get("gap_low"), one.get("gap_high"))


def _name_group(group: str | None) -> str:
    return "unknown" if group is None else str(group)


def _score_table(document: Document) -> Table:
    scores = document["scores"]
    frequent = scores["most_frequent_answer"]
    uar, wa = scores["uar"], scores["wa"]
    return ["score", "value", "interval (95 %, over speakers)"], [
        ["UAR (mean recall of the emotions), %", percent(uar["value"]), bounds(uar["low"], uar["high"])],
        ["UAR by chance, %", percent(scores["chance"]), ""],
        ["WA (share of correct clips), %", percent(wa["value"]), bounds(wa["low"], wa["high"])],
        ["macro F1, %", percent(scores["macro_f1"]), ""],
        ["weighted F1, %", percent(scores["weighted_f1"]), ""],
        ["AUC, mean of one against the rest", figure(scores["auc"]), ""],
        ["log-loss, nats", figure(scores["log_loss"]), ""],
        ["Brier, 0 to 2", figure(scores["brier"]), ""],
        ["ECE", figure(scores["ece"]), ""],
        *_soft_rows(scores.get("soft")),
        ["labelled (the model may abstain), %", percent(scores["coverage"]), ""],
        ["UAR of labelled clips, %", percent(scores["answered_uar"]), ""],
        ["clips without scores", str(scores["n_unanswered"]), ""],
        [f"most frequent label, {frequent['label']}, %", percent(frequent["share"]), ""],
    ]


def _soft_rows(soft: Mapping[str, Any] | None) -> list[list[object]]:
    if soft is None:
        return []
    return [
        ["cross entropy under the soft labels, nats", figure(soft["cross_entropy"]), ""],
        ["entropy of the soft labels, the least possible, nats", figure(soft["entropy"]), ""],
        ["Jensen-Shannon divergence from the soft labels, bits", figure(soft["jensen_shannon"]), ""],
        ["clips with several labels", soft["n_soft"], ""],
    ]


def _class_table(document: Document) -> Table:
    """Return the emotions that occur or were predicted."""
    heads = ["emotion", "clips", "predicted", "recall %", "interval (95 %)", "precision %", "F1 %", "AUC"]
    return heads, [
        [
            row["label"],
            row["n"],
            row["n_answers"],
            percent(row["recall"]),
            bounds(row.get("recall_low"), row.get("recall_high")),
            percent(row["precision"]) if row["n_answers"] else MISSING,
            percent(row["f1"]) if row["n"] else MISSING,
            figure(row["auc"]),
        ]
        for row in document["classes"]
        if row["n"] or row["n_answers"]
    ]


def _divisions(document: Document) -> list[Mapping[str, Any]]:
    """Return the divisions with more than one group."""
    return [one for one in document["groups"] if len(one["rows"]) > 1]


def _group_table(one: Mapping[str, Any]) -> Table:
    return [one["by"], "clips", "speakers", "UAR %", "interval (95 %)", "WA %"], [
        [
            _name_group(row["group"]),
            row["n_clips"],
            MISSING if row["n_speakers"] is None else row["n_speakers"],
            percent(row["uar"]),
            bounds(row.get("uar_low"), row.get("uar_high")),
            percent(row["wa"]),
        ]
        for row in one["rows"]
    ]


def _describe_gap(one: Mapping[str, Any]) -> str:
    if one["gap"] is None:
        return "Only one group is known: no gap."
    return f"Gap in UAR, best to worst: {_gap_span(one)} points."


def _describe_undivided(document: Document) -> str:
    """Name what is the same for all clips, or unknown for all."""
    same = [f"{one['by']} {one['rows'][0]['group']}" for one in document["groups"] if len(one["rows"]) == 1]
    known = [one["by"] for one in document["groups"]]
    unknown = [name for name in ("sex", "age", "language") if name not in known]
    parts = [f"The same for all clips: {', '.join(same)}." if same else ""]
    parts += [f"Unknown: {', '.join(unknown)}." if unknown else ""]
    return " ".join(part for part in parts if part)


def _split_table(document: Document) -> Table:
    rows = [
        [row["split"], row["n_clips"], percent(row["uar"]), percent(row["wa"])] for row in document["splits"]
    ]
    n = len(document["splits"])
    means = [percent(sum(row[key] for row in document["splits"]) / n) for key in ("uar", "wa")]
    return ["split", "clips", "UAR %", "WA %"], [*rows, ["mean", "", *means]]


def _speaker_table(document: Document) -> Table:
    return ["speaker", "sex", "clips", "UAR %"], [
        [_name_group(row["speaker"]), _name_group(row["sex"]), row["n_clips"], percent(row["uar"])]
        for row in document["speakers"]
    ]


def _reliability_table(document: Document) -> Table:
    return ["confidence", "clips", "mean confidence %", "correct %", "over-confident by"], [
        [
            bounds(row["low"], row["high"]),
            row["n"],
            percent(row["confidence"]),
            percent(row["accuracy"]),
            signed(row["confidence"] - row["accuracy"]) if row["n"] else MISSING,
        ]
        for row in document["reliability"]
    ]


def _robustness_table(part: Mapping[str, Any]) -> Table:
    """Return the conditions, the unchanged clips first."""
    plain = part["plain"]
    rows = [["unchanged", percent(plain["value"]), _bounds_or_empty(plain), "", "", ""]]
    for row in part["rows"]:
        uar, lost = row["uar"], row["lost"]
        interval = "" if lost["low"] is None else f"{signed(lost['low'])} to {signed(lost['high'])}"
        name = row["condition"] + (f" ({len(row['errors'])} failed)" if row["errors"] else "")
        rows.append(
            [
                *(name, percent(uar["value"]), _bounds_or_empty(uar)),
                *(signed(lost["value"]), interval, percent(row["changed"])),
            ]
        )
    heads = ["condition", "UAR %", "interval (95 %)", "lost", "interval of the loss", "changed labels %"]
    return heads, rows


def _bounds_or_empty(interval: Mapping[str, Any]) -> str:
    return "" if interval["low"] is None else bounds(interval["low"], interval["high"])


def _describe_robustness(part: Mapping[str, Any]) -> str:
    return f"{part['n_clips']} clips of {speakers(part['n_speakers'])}, seed {part['seed']}"


def _describe_training(part: Mapping[str, Any]) -> str:
    best = part["epochs"][part["kept"] - 1]
    uar, ccc = best["uar"], best.get("ccc")
    scores = [] if uar is None else [f"UAR {percent(uar)} %"]
    scores += [] if ccc is None else [f"CCC {figure(ccc)}"]
    reached = f", {', '.join(scores)} on validation clips" if scores else ""
    return f"{len(part['epochs'])} epochs; the weights of epoch {part['kept']} are kept{reached}."


def _facts(document: Document) -> list[list[str]]:
    model, data, protocol = document["model"], document["data"], document["protocol"]
    counts = ", ".join(f"{name} {n}" for name, n in data["emotions"].items())
    digests = {split["digest"] for split in protocol["splits"]}
    rows = [
        ["model", f"{model['name']} {model['version']}, sha256 {model['sha256'] or MISSING}"],
        ["trained on", f"{', '.join(model['corpora']) or MISSING}; protocol: {model['protocol']}"],
        ["weights", model["weights"]],
        *value_facts(document),
        ["clips", counts],
        ["protocol", f"{protocol['name']} ({', '.join(sorted(digests)) or 'all clips'})"],
    ]
    if labels := document["settings"]["labels"]:
        rows.append(["labels", ", ".join(labels)])
    for name, value in document["settings"].items():
        if name != "labels" and value:
            rows.append([name.replace("_", " "), _format_setting(value)])
    return rows


def _format_setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_format_setting(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _error_table(document: Document) -> Table:
    return ["clip", "error"], [[row["id"], row["error"]] for row in document["errors"]]


# --- parts of the page ----------------------------------------------------------------------------


def _caption(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _score_tiles(document: Document) -> str:
    scores = document["scores"]

    def note(interval: Mapping[str, Any]) -> str:
        none = f"{speakers(interval['n_speakers'])}: no interval"
        return none if interval["low"] is None else bounds(interval["low"], interval["high"])

    tiles = [
        ("UAR", percent(scores["uar"]["value"]), note(scores["uar"])),
        ("WA", percent(scores["wa"]["value"]), note(scores["wa"])),
        ("macro F1", percent(scores["macro_f1"]), ""),
        ("ECE", figure(scores["ece"]), "mean error of the confidence"),
        ("labelled", percent(scores["coverage"]), f"UAR of those {percent(scores['answered_uar'])}"),
        ("chance", percent(scores["chance"]), "UAR of guessing"),
    ]
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(text) or '&nbsp;'}</span></div>"
        for name, value, text in tiles
    )
    rest = table(*_score_table(document))
    return f'<div class="figures">{cells}</div>\n<details><summary>All scores</summary>{rest}</details>'


def _speakers_html(document: Document) -> Iterator[str]:
    uar = document["scores"]["uar"]
    scores = [row["uar"] for row in document["speakers"] if row["uar"] is not None]
    yield figure_html(
        draw_speakers,
        scores,
        value=uar["value"],
        low=uar["low"],
        high=uar["high"],
        description="UAR of each speaker, in per cent",
    )
    if uar["low"] is None:
        yield f"<p>{escape(_describe_no_interval(document))}</p>"
        yield table(*_speaker_table(document))
    else:
        yield f"<details><summary>Each speaker</summary>{table(*_speaker_table(document))}</details>"


def _recalls_html(document: Document) -> Iterator[str]:
    rows = [row for row in document["classes"] if row["recall"] is not None]
    if rows:
        bars = []
        for row in rows:
            low, high = row.get("recall_low"), row.get("recall_high")
            text = span(row["recall"], low, high)
            bars.append(
                Bar(f"{row['label']} ({row['n']})", row["recall"], text, colour(row["label"]), low, high)
            )
        yield bar_table(["emotion (clips)", "recall", "%"], bars, mark=document["scores"]["chance"])
        has_intervals = any(bar.low is not None for bar in bars)
        lines = "Lines: 95 % intervals over speakers." if has_intervals else "Too few speakers for intervals."
        yield _caption(f"Share of the clips of an emotion that were recognised. {lines} Broken line: chance.")


def _calibration_html(document: Document) -> Iterator[str]:
    if not document["reliability"]:
        yield "<p>No clip has scores.</p>"
        return
    yield figure_html(
        draw_calibration, document, description="Reliability diagram, and the curve of risk and coverage"
    )
    yield _caption(
        "Left, reliability: how often labels of that confidence are correct; dots are at the mean "
        "confidence, the larger the more clips. A calibrated model is on the broken line. "
        f"ECE {figure(document['scores']['ece'])}."
    )
    yield _caption(
        "Right, risk and coverage: the share of wrong labels when only the most confident are given. Ring: "
        f"the model's own abstention. Area {figure(document['risk_coverage']['aurc'])}."
    )
    yield f"<details><summary>Reliability table</summary>{table(*_reliability_table(document))}</details>"


def _robustness_html(part: Mapping[str, Any]) -> Iterator[str]:
    scored = [("unchanged", part["plain"]), *((row["condition"], row["uar"]) for row in part["rows"])]
    lines = [
        ScoreLine(name, uar["value"], uar["low"], uar["high"], _span(uar), is_reference=not n)
        for n, (name, uar) in enumerate(scored)
    ]
    yield figure_html(
        draw_intervals,
        lines,
        axis="UAR, %",
        mark=part["plain"]["value"],
        description="UAR under each condition, in per cent",
    )
    yield _caption(f"{_describe_robustness(part)}.")
    yield table(*_robustness_table(part))
    yield from (f"<p>{escape(note)}</p>" for note in part["notes"])


def _training_html(part: Mapping[str, Any]) -> Iterator[str]:
    epochs = part["epochs"]
    yield _caption(_describe_training(part))
    history = [
        {
            "epoch": row["number"],
            "train loss": row["loss"],
            "validation loss": row["validation_loss"],
            "validation uar": row["uar"],
            **({"validation ccc": row["ccc"]} if "ccc" in row else {}),
        }
        for row in epochs
    ]
    if any(row["loss"] is not None or row["uar"] is not None for row in epochs):
        yield figure_html(
            draw_training, history, kept=part["kept"], description="Losses and UAR over the epochs"
        )
    yield _caption(
        "The training loss is the one that was minimised: smoothed, mixed, masked. The validation loss is "
        "plain cross entropy on validation clips"
        + (", and for values 1 less their concordance." if "ccc" in epochs[0] else ".")
    )
    heads = ["epoch", "loss", "validation loss", "validation UAR %", "learning rate", "seconds"]
    heads += ["validation CCC"] if "ccc" in epochs[0] else []
    rows = [
        [
            row["number"],
            figure(row["loss"], 4),
            figure(row["validation_loss"], 4),
            percent(row["uar"]),
            MISSING if row["learning_rate"] is None else f"{row['learning_rate']:.2e}",
            figure(row["seconds"], 1),
            *([figure(row["ccc"])] if "ccc" in row else []),
        ]
        for row in epochs
    ]
    yield f"<details><summary>Each epoch</summary>{table(heads, rows)}</details>"

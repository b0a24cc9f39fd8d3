"""The pages of one evaluation, out of the document that ``emovox.evaluation.scorecard`` makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.classes import class_table, confusion_html, recalls_html
from emovox.reports.html import badge, escape, page, section, table
from emovox.reports.robustness import robustness_html, robustness_lines, robustness_table
from emovox.reports.svg import Plot, strip
from emovox.reports.text import MISSING, figure, markdown_table, percent, signed, span
from emovox.reports.training import training_html, training_told

__all__ = ["evaluation_html", "evaluation_lines", "evaluation_markdown"]

Document = Mapping[str, Any]

_FOOT = "Expressed emotion, not what a person feels. Written by emovox"
_FEW = "Under ten speakers there is no honest interval; the value of each stands in its place."


def evaluation_lines(document: Document) -> Iterator[str]:
    """A few lines for a terminal."""
    scores, stamp = document["scores"], document["stamp"]
    yield _title(document)
    yield f"  stamp     {stamp['stamp']}"
    yield from (f"            {reason}" for reason in stamp["reasons"])
    yield f"  UAR       {_span(scores['uar'])}   (chance {percent(scores['chance'])})"
    yield f"  WA        {_span(scores['wa'])}"
    yield f"  macro F1  {percent(scores['macro_f1'])}"
    yield f"  ECE       {figure(scores['ece'])}"
    yield (
        f"  answers   {percent(scores['coverage'])} % of the clips; "
        f"UAR of those {percent(scores['answered_uar'])}"
    )
    for one in document["groups"]:
        if len(one["rows"]) > 1:
            told = ", ".join(f"{_known(row['group'])} {percent(row['uar'])}" for row in one["rows"])
            yield f"  by {one['by']:<8} {told}; gap {percent(one['gap'])}"
    if scores["uar"]["low"] is None and len(document["speakers"]) > 1:
        each = ", ".join(f"{row['speaker']} {percent(row['uar'])}" for row in document["speakers"])
        yield f"  speakers  {each}"
    if "robustness" in document:
        yield from robustness_lines(document["robustness"])


def evaluation_markdown(document: Document) -> str:
    """The page in Markdown."""
    lines = [f"# {_title(document)}", "", f"**Stamp: {document['stamp']['stamp']}**", ""]
    lines += [f"- {reason}" for reason in document["stamp"]["reasons"]]
    lines += ["", *_block("Scores", _score_heads(), _score_rows(document))]
    if document["scores"]["uar"]["low"] is None:
        lines += [_FEW, ""]
    lines += _block("Classes", *class_table(document))
    confusion = document["confusion"]
    rows = [[name, *counts] for name, counts in zip(confusion["true"], confusion["counts"], strict=True)]
    lines += _block("Confusion (rows true, columns answered)", ["", *confusion["answered"]], rows)
    for one in _divided(document):
        lines += [*_block(f"By {one['by']}", *_group_table(one)), _gap(one), ""]
    lines += [_undivided(document), ""]
    lines += _block("Splits", *_split_table(document)) if document["splits"] else []
    lines += _block("Speakers", *_speaker_table(document))
    lines += _block("Reliability", *_reliability_table(document))
    if "robustness" in document:
        lines += _robustness_block(document["robustness"])
    if "training" in document:
        lines += ["## How it was trained", "", training_told(document["training"]), ""]
    lines += _block("Of what", ["", ""], _facts(document))
    errors = document["errors"]
    lines += (
        _block("Clips that could not be read (counted as wrong)", ["clip", "error"], _errors(errors))
        if errors
        else []
    )
    return "\n".join(lines).rstrip() + f"\n\n{_FOOT} {document['emovox']}.\n"


def evaluation_html(document: Document) -> str:
    """The page as one HTML file."""
    title = _title(document)
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_summary(document))}</p></header>',
        badge(document["stamp"]["stamp"], document["stamp"]["reasons"]),
        _figures(document),
        section("Speakers", *_speakers(document)),
        section("Which emotions are recognised", *recalls_html(document)),
        section("Which are taken for which", *confusion_html(document["confusion"])),
        section("Groups", *_groups(document)),
        section("Splits", table(*_split_table(document))) if document["splits"] else "",
        section("Can the confidence be trusted?", _curves(document)),
        section("When the sound is worse", *robustness_html(document["robustness"]))
        if "robustness" in document
        else "",
        section("How it was trained", *training_html(document["training"])) if "training" in document else "",
        section("Of what", _definitions(_facts(document))),
        section("Clips that could not be read", *_unread(document["errors"])),
        f"<footer>{escape(_FOOT)} {escape(document['emovox'])}.</footer>",
    ]
    return page(title, "\n".join(part for part in body if part))


# --- words and figures ----------------------------------------------------------------------------


def _title(document: Document) -> str:
    model = document["model"]
    corpora = ", ".join(document["data"]["corpora"])
    return f"{model['name']} {model['version']} on {corpora}, protocol {document['protocol']['name']}"


def _summary(document: Document) -> str:
    data = document["data"]
    return (
        f"{data['n_clips']} clips of {data['n_speakers']} speakers, {len(data['emotions'])} emotions. Scores "
        "in per cent; intervals (95 %) are over speakers."
    )


def _span(interval: Mapping[str, Any]) -> str:
    """A score with its interval."""
    return span(interval["value"], interval["low"], interval["high"])


def _known(group: str | None) -> str:
    return "not known" if group is None else str(group)


def _score_heads() -> list[str]:
    return ["score", "value", "interval (95 %, over speakers)"]


def _score_rows(document: Document) -> list[list[str]]:
    scores = document["scores"]

    def bounds(name: str) -> str:
        low, high = scores[name]["low"], scores[name]["high"]
        return MISSING if low is None else f"{percent(low)} to {percent(high)}"

    frequent = scores["most_frequent_answer"]
    return [
        ["UAR (mean recall of the emotions), %", percent(scores["uar"]["value"]), bounds("uar")],
        ["UAR by chance, %", percent(scores["chance"]), ""],
        ["WA (share of clips that are right), %", percent(scores["wa"]["value"]), bounds("wa")],
        ["macro F1, %", percent(scores["macro_f1"]), ""],
        ["weighted F1, %", percent(scores["weighted_f1"]), ""],
        ["AUC, mean of one against the rest", figure(scores["auc"]), ""],
        ["log-loss, nats", figure(scores["log_loss"]), ""],
        ["Brier, 0 to 2", figure(scores["brier"]), ""],
        ["ECE", figure(scores["ece"]), ""],
        ["answered (the model may abstain), %", percent(scores["coverage"]), ""],
        ["UAR of what it answered, %", percent(scores["answered_uar"]), ""],
        ["clips without any answer", str(scores["n_unanswered"]), ""],
        [f"most frequent answer, {frequent['label']}, %", percent(frequent["share"]), ""],
    ]


def _group_table(one: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    heads = [one["by"], "clips", "speakers", "UAR %", "WA %"]
    return heads, [
        [_known(row["group"]), row["n_clips"], row["n_speakers"], percent(row["uar"]), percent(row["wa"])]
        for row in one["rows"]
    ]


def _divided(document: Document) -> list[Mapping[str, Any]]:
    """Divisions with more than one group."""
    return [one for one in document["groups"] if len(one["rows"]) > 1]


def _undivided(document: Document) -> str:
    """What is the same for all clips, or not known of any."""
    alike = [f"{one['by']} {one['rows'][0]['group']}" for one in document["groups"] if len(one["rows"]) == 1]
    known = [one["by"] for one in document["groups"]]
    unknown = [name for name in ("sex", "age", "language") if name not in known]
    told = [f"The same for all clips: {', '.join(alike)}." if alike else ""]
    told += [f"Not known: {', '.join(unknown)}." if unknown else ""]
    return " ".join(part for part in told if part)


def _gap(one: Mapping[str, Any]) -> str:
    if one["gap"] is None:
        return "Only one group is known: no gap."
    return f"Gap in UAR, best to worst: {percent(one['gap'])} points."


def _split_table(document: Document) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [
        [row["split"], row["n_clips"], percent(row["uar"]), percent(row["wa"])] for row in document["splits"]
    ]
    n = len(document["splits"])
    means = [sum(row[key] for row in document["splits"]) / n for key in ("uar", "wa")]
    return ["split", "clips", "UAR %", "WA %"], [*rows, ["mean", "", *map(percent, means)]]


def _speaker_table(document: Document) -> tuple[list[str], list[list[object]]]:
    return ["speaker", "sex", "clips", "UAR %"], [
        [row["speaker"], _known(row["sex"]), row["n_clips"], percent(row["uar"])]
        for row in document["speakers"]
    ]


def _reliability_table(document: Document) -> tuple[list[str], list[list[object]]]:
    return ["confidence", "clips", "mean confidence %", "right %", "over-confident by"], [
        [
            f"{percent(row['low'])} to {percent(row['high'])}",
            row["n"],
            percent(row["confidence"]),
            percent(row["accuracy"]),
            signed(row["confidence"] - row["accuracy"]) if row["n"] else MISSING,
        ]
        for row in document["reliability"]
    ]


def _facts(document: Document) -> list[list[str]]:
    model, data, protocol = document["model"], document["data"], document["protocol"]
    counts = ", ".join(f"{name} {n}" for name, n in data["emotions"].items())
    digests = {split["digest"] for split in protocol["splits"]}
    rows = [
        ["model", f"{model['name']} {model['version']}, sha256 {model['sha256'] or MISSING}"],
        ["trained on", f"{', '.join(model['corpora']) or MISSING}; protocol: {model['protocol']}"],
        ["weights", model["weights"]],
        ["clips", counts],
        ["protocol", f"{protocol['name']} ({', '.join(sorted(digests)) or 'all clips'})"],
        ["could answer", ", ".join(document["settings"]["labels"])],
    ]
    for name, value in document["settings"].items():
        if name != "labels" and value:
            rows.append([name.replace("_", " "), _told(value)])
    return rows


def _told(value: object) -> str:
    """A setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_told(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _robustness_block(part: Mapping[str, Any]) -> list[str]:
    told = [f"{part['n_clips']} clips of {part['n_speakers']} speakers.", *part["notes"]]
    return [*_block("When the sound is worse", *robustness_table(part)), *told, ""]


def _errors(errors: Sequence[Mapping[str, str]]) -> list[list[object]]:
    return [[row["id"], row["error"]] for row in errors]


def _block(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"## {title}", "", *markdown_table(heads, rows), ""]


# --- HTML -----------------------------------------------------------------------------------------


def _figures(document: Document) -> str:
    scores = document["scores"]
    told = [
        ("UAR", percent(scores["uar"]["value"]), _bounds(scores["uar"])),
        ("WA", percent(scores["wa"]["value"]), _bounds(scores["wa"])),
        ("macro F1", percent(scores["macro_f1"]), ""),
        ("ECE", figure(scores["ece"]), "how far confidence is from truth"),
        ("answered", percent(scores["coverage"]), f"UAR of those {percent(scores['answered_uar'])}"),
        ("chance", percent(scores["chance"]), "UAR of a blind guess"),
    ]
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(note) or '&nbsp;'}</span></div>"
        for name, value, note in told
    )
    rest = table(_score_heads(), _score_rows(document))
    return f'<div class="figures">{cells}</div>\n<details><summary>All scores</summary>{rest}</details>'


def _bounds(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return f"{interval['n_speakers']} speakers: no interval"
    return f"{percent(interval['low'])} to {percent(interval['high'])}"


def _speakers(document: Document) -> Iterator[str]:
    uar = document["scores"]["uar"]
    dots = [(row["uar"], row["speaker"]) for row in document["speakers"] if row["uar"] is not None]
    drawing = strip(
        dots, title="UAR of each speaker, %", value=uar["value"], low=uar["low"], high=uar["high"]
    )
    yield f'<figure class="wide">{drawing}</figure>'
    if uar["low"] is None:
        yield f"<p>{escape(_FEW)}</p>"
        yield table(*_speaker_table(document))
    else:
        yield f"<details><summary>Each speaker</summary>{table(*_speaker_table(document))}</details>"


def _groups(document: Document) -> Iterator[str]:
    tables = [table(*_group_table(one), foot=_gap(one)) for one in _divided(document)]
    if tables:
        yield f'<div class="row">{"".join(tables)}</div>'
    yield f'<p class="soft">{escape(_undivided(document))}</p>'


def _curves(document: Document) -> str:
    if not document["reliability"]:
        return "<p>No clip got an answer.</p>"
    honest = (
        "Reliability. Bars: how often answers of that confidence are right; dots: at their mean confidence. "
        f"Honest confidence lies on the broken line. ECE {figure(document['scores']['ece'])}."
    )
    risk = (
        "Risk and coverage: the share of wrong answers when only the surest are given. The ring is where the "
        f"model abstains by itself. Area {figure(document['risk_coverage']['aurc'])}."
    )
    return (
        f'<div class="pair"><figure>{_reliability(document)}<figcaption>{honest}</figcaption></figure>'
        f"<figure>{_risk_coverage(document)}<figcaption>{risk}</figcaption></figure></div>"
    )


def _reliability(document: Document) -> str:
    bins = [row for row in document["reliability"] if row["n"]]
    plot = Plot("confidence, %", "right, %")
    plot.bars(
        (
            row["low"],
            row["high"],
            row["accuracy"],
            f"{row['n']} clips, {percent(row['accuracy'])} % right at {percent(row['confidence'])} %",
        )
        for row in bins
    )
    plot.curve([(0, 0), (1, 1)], "even")
    most = max(row["n"] for row in bins)
    plot.dots(
        (row["confidence"], row["accuracy"], 2.5 + 4 * (row["n"] / most) ** 0.5, f"{row['n']} clips")
        for row in bins
    )
    return plot.svg("Reliability diagram: accuracy against confidence")


def _risk_coverage(document: Document) -> str:
    curve = document["risk_coverage"]
    top = max((point["risk"] for point in curve["points"]), default=1.0)
    top = next(edge for edge in (0.1, 0.25, 0.5, 0.75, 1.0) if top <= edge + 1e-9)
    plot = Plot("answered, % of clips", "wrong, % of answers", y_range=(0.0, top))
    plot.curve([(point["coverage"], point["risk"]) for point in curve["points"]])
    now = curve["now"]
    if now["risk"] is not None and now["risk"] <= top:
        told = f"{percent(now['coverage'])} % answered, {percent(now['risk'])} % of them wrong"
        plot.dots([(now["coverage"], now["risk"], 5.0, told)], "mark")
    return plot.svg("Share of wrong answers against the share of clips that are answered")


def _definitions(rows: Sequence[Sequence[str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows) + "</dl>"


def _unread(errors: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if errors:
        yield "<p>They count as wrong.</p>"
        yield table(["clip", "error"], _errors(errors), words=True)

"""The report of behavioural tests as lines for a terminal, as Markdown and as an HTML page.

All are made from the document of `emovox.evaluation.behaviour`; no score is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.html import Bar, badge, bar_table, escape, page, section, table
from emovox.reports.text import MISSING, figure, markdown_table, span, speakers

__all__ = ["behaviour_html", "behaviour_lines", "behaviour_markdown", "card_section"]

Document = Mapping[str, Any]
Test = Mapping[str, Any]

_FOOT = "Expressed emotion, not what a person feels. Written by emovox"

_STATUS = {"passed": "passed", "failed": "FAILED", "not applicable": "n/a"}


def behaviour_lines(document: Document) -> Iterator[str]:
    """Yield lines for a terminal: what was tested, and each test with its value and limit."""
    yield _title(document)
    yield f"  {_describe_data(document)}"
    if document["stamp"] is not None:
        yield f"  stamp: {document['stamp']['stamp']}"
    width = max((len(test["name"]) for test in document["tests"]), default=0)
    for category, tests in _by_category(document):
        yield f"  {category}"
        for test in tests:
            text = test["reason"] or _describe_result(test)
            yield f"    {_STATUS[test['status']]:<6}  {test['name'].ljust(width)}  {text}"
    yield f"  {_describe_summary(document)}"


def behaviour_markdown(document: Document) -> str:
    """Format the report as Markdown."""
    lines = [f"# {_title(document)}", "", f"{_describe_data(document)}. {_describe_summary(document)}.", ""]
    for category, tests in _by_category(document):
        lines += [f"## {category.capitalize()}", ""]
        lines += [*markdown_table(_HEADS, [_cells(test) for test in tests]), ""]
    return "\n".join(lines).rstrip() + f"\n\n{_FOOT} {document['emovox']}.\n"


def card_section(document: Document) -> str:
    """Format what a model card says: how many tests passed, and which failed."""
    failed = [test for test in document["tests"] if test["status"] == "failed"]
    lines = [f"{_describe_summary(document)} ({_describe_data(document)})."]
    if failed:
        lines += ["Failed: " + "; ".join(f"{t['name']} ({_describe_result(t)})" for t in failed) + "."]
    return " ".join(lines)


_HEADS = ["test", "result", "value", "interval (95 %)", "limit", "clips", "source of the limit"]


def _cells(test: Test) -> list[object]:
    return [
        test["name"],
        test["status"],
        figure(test["value"]) if test["reason"] is None else test["reason"],
        _span_or_missing(test),
        _limit(test),
        test["n_clips"] or MISSING,
        test["source"],
    ]


def behaviour_html(document: Document) -> str:
    """Format the report as an HTML page that needs no other file."""
    failed = [test for test in document["tests"] if test["status"] == "failed"]
    about = f"{_describe_data(document)}. {_describe_settings(document)}"
    parts = [
        f"<header><h1>{escape(_title(document))}</h1>",
        f'<p class="soft">{escape(about)}</p></header>',
        _summary_tiles(document),
        badge(document["stamp"]["stamp"], document["stamp"]["reasons"]) if document["stamp"] else "",
        section("Failed", _failed_list(failed)) if failed else "",
    ]
    for category, tests in _by_category(document):
        length = _length_table(tests) if category == "correctness" else ""
        parts.append(section(category.capitalize(), *map(_group_table, _group_by_metric(tests)), length))
    if document["errors"]:
        rows = [[row["id"], row["error"]] for row in document["errors"]]
        parts.append(section("Clips that could not be read", table(["clip", "error"], rows, words=True)))
    parts.append(section("Model and data", _facts(document)))
    parts.append(f"<footer>{escape(_FOOT)} {escape(document['emovox'])}.</footer>")
    return page(_title(document), "\n".join(part for part in parts if part), style=_STYLE)


_STYLE = """
.tests { width: 100%; min-width: 54rem; table-layout: fixed; }
.tests > thead th:nth-child(1) { width: 6.2rem; } .tests > thead th:nth-child(3) { width: 14.4rem; }
.tests > thead th:nth-child(4) { width: 13.2rem; } .tests > thead th:nth-child(5) { width: 5rem; }
.tests details table { table-layout: auto; }
.tests td, .tests th { text-align: left; vertical-align: top; white-space: normal; }
.tests tbody th, .tests thead th:first-child { position: static; }
.result { display: inline-block; min-width: 4.6rem; padding: 0 .45rem; border-radius: .25rem;
  color: var(--tone); border: 1px solid var(--tone); text-align: center; font-size: .85rem; }
.passed { --tone: var(--green); } .failed { --tone: var(--red); } .not { --tone: var(--soft); }
.tests details { font-weight: 400; font-size: .87rem; }
.tests summary { cursor: pointer; color: var(--soft); }
.tests details table { margin: .3rem 0 .5rem; font-size: .85rem; } .tests details p { margin: .25rem 0; }
.tests details tbody th { min-width: 0; overflow-wrap: anywhere; }
.strip { position: relative; width: 13rem; height: 1.3rem; background: var(--wash); border-radius: .2rem;
  border: 1px solid var(--line); }
.strip * { position: absolute; display: block; }
.strip s { top: .5rem; height: .2rem; background: var(--tone); }
.strip u { top: 0; bottom: 0; border-left: 2px dashed var(--ink); }
.strip i { top: .28rem; width: .62rem; height: .62rem; margin-left: -.31rem; border-radius: 50%;
  background: var(--tone); }
.axis { display: flex; justify-content: space-between; width: 13rem; font-size: .8rem; }
h3 { font-size: .98rem; margin: 1.3rem 0 .2rem; } h3::first-letter { text-transform: uppercase; }
@media (max-width: 44rem) { .tests { min-width: 0; display: block; } .tests > tbody { display: block; }
  .tests > thead, .tests > tbody > tr > .figure { display: none; }
  .tests > tbody > tr { display: grid; grid-template-columns: 5.6rem 1fr; padding: .3rem 0;
    border-bottom: 1px solid var(--line); }
  .tests > tbody > tr > * { border: 0; padding: .1rem .3rem; }
  .tests > tbody > tr > .value, .tests > tbody > tr > .limit { grid-column: 2; }
  .tests > tbody > tr > .limit::before { content: "limit "; } }
@media print { .tests tr { break-inside: avoid; } }
"""

_MOST_CLIPS = 30
"""Changed clips that the page lists for one test; the JSON has all."""


def _summary_tiles(document: Document) -> str:
    tiles = []
    for row in document["summary"]:
        n = row["passed"] + row["failed"]
        rest = f"{row['not applicable']} not applicable" if row["not applicable"] else "\xa0"
        if n or row["not applicable"]:
            name = "tests passed" if row["category"] == "all" else row["category"]
            tiles.append(f"<div><span>{name}</span><b>{row['passed']} of {n}</b><span>{rest}</span></div>")
    return f'<div class="figures">{"".join(tiles)}</div>'


def _failed_list(failed: Sequence[Test]) -> str:
    items = "".join(
        f'<li><a href="#{_anchor(test)}">{escape(test["name"])}</a>: {escape(_describe_result(test))}</li>'
        for test in failed
    )
    return f"<ul>{items}</ul>"


def _group_by_metric(tests: Sequence[Test]) -> Iterator[tuple[str, Sequence[Test]]]:
    """Yield the tests whose metric occurs once, then those of each other metric, under its description."""
    names = [test["metric"] for test in tests]
    alone = [test for test in tests if names.count(test["metric"]) == 1]
    if alone:
        yield "", alone
    for metric in dict.fromkeys(name for name in names if names.count(name) > 1):
        group = [test for test in tests if test["metric"] == metric]
        yield group[0]["measures"], group


def _group_table(group: tuple[str, Sequence[Test]]) -> str:
    title, tests = group
    low, high = _find_axis(tests)
    head = f"<h3>{escape(title)}</h3>" if title else ""
    axis = f'<div class="axis"><span>{low:g}</span><span>{high:g}</span></div>'
    rows = "\n".join(_test_row(test, low, high) for test in tests)
    return (
        f'{head}<div class="wide"><table class="tests"><thead><tr><th scope="col">result</th>'
        f'<th scope="col">test</th><th scope="col" class="figure">{axis}</th><th scope="col">value</th>'
        f'<th scope="col">limit</th></tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    )


def _find_axis(tests: Sequence[Test]) -> tuple[float, float]:
    """Return ends of an axis in tenths that holds all values, intervals and limits."""
    ends = [test[key] for test in tests for key in ("value", "low", "high", "limit") if test[key] is not None]
    low, high = (
        math.floor(10 * min(ends, default=0) + 1e-9) / 10,
        math.ceil(10 * max(ends, default=1) - 1e-9) / 10,
    )
    return (low, high) if high > low else (low, low + 0.1)


def _test_row(test: Test, low: float, high: float) -> str:
    kind = test["status"].split()[0]
    strip = ""
    if test["value"] is not None:

        def at(value: float) -> float:
            return 100 * (value - low) / (high - low)

        if test["low"] is not None:
            width = at(test["high"]) - at(test["low"])
            strip += f'<s style="left:{at(test["low"]):.1f}%;width:{width:.1f}%"></s>'
        strip += f'<u style="left:{at(test["limit"]):.1f}%"></u><i style="left:{at(test["value"]):.1f}%"></i>'
        strip = f'<div class="strip {kind}">{strip}</div>'
    value = test["reason"] if test["reason"] is not None else _value(test)
    near = '<br><span class="soft">the interval holds the limit</span>' if test["decided"] is False else ""
    status = escape(_STATUS[test["status"]].lower())
    return (
        f'<tr id="{_anchor(test)}"><td><span class="result {kind}">{status}</span></td>'
        f'<th scope="row">{escape(test["name"])}{_details(test)}</th><td class="figure">{strip}</td>'
        f'<td class="value">{escape(value)}{near}</td><td class="limit">{escape(_limit_sign(test))}</td></tr>'
    )


def _details(test: Test) -> str:
    """Return what a test does, what its value is made of, and the clips that changed, to be opened."""
    lines = [test["description"], f"Measures: {test['measures']}.", f"Source of the limit: {test['source']}."]
    if test["change"]:
        lines.insert(1, f"Change: {'; '.join(map(_describe_step, test['change']))}.")
    if test["n_clips"]:
        lines.append(f"{test['n_clips']} clips of {speakers(test['n_speakers'])}.")
    parts = [f"<p>{escape(line)}</p>" for line in lines if line]
    if test["rows"]:
        rows = [
            [row["name"], figure(row["value"]), _span_or_missing(row), row["n_clips"] or MISSING]
            for row in test["rows"]
        ]
        parts.append(table(["", "value", "interval (95 %)", "clips"], rows))
    if test["change"] and test["changed"]:
        shown = test["changed"][:_MOST_CLIPS]
        rows = [[one["id"], one["plain"], one["error"] or one["changed"]] for one in shown]
        more = len(test["changed"]) - len(shown)
        foot = f"and {more} more in behaviour.json" if more else ""
        parts.append(
            table(
                [f"{len(test['changed'])} clips changed", "as it is", "changed"], rows, foot=foot, words=True
            )
        )
    return f"<details><summary>details</summary>{''.join(parts)}</details>"


def _length_table(tests: Sequence[Test]) -> str:
    """Return the UAR against the length of the clips, where tests changed it."""
    bars, mark = [], None
    for test in tests:
        rows = {row["name"]: row for row in test["rows"]}
        if [step["kind"] for step in test["change"]] == ["length"] and "changed" in rows:
            mark, one = rows["as it is"]["value"], rows["changed"]
            text = span(one["value"], one["low"], one["high"])
            bars.append(
                Bar(f"{test['change'][0]['length_s']:g} s", one["value"], text, "", one["low"], one["high"])
            )
    if not bars:
        return ""
    return f"<h3>UAR by length of the clip</h3>{bar_table(['length', 'UAR', '%'], bars, mark=mark)}" + (
        '<p class="soft">Broken line: the same clips as they are. The stretch of that length with the most '
        "energy; shorter clips are repeated.</p>"
    )


def _facts(document: Document) -> str:
    model, data, settings = document["model"], document["data"], document["settings"]
    facts = {
        "model": f"{model['name']} {model['version']}, sha256 {model['sha256']}",
        "trained on": f"{', '.join(model['corpora']) or MISSING}; protocol: {model['protocol'] or MISSING}",
        "clips": ", ".join(f"{name} {n}" for name, n in (data["emotions"] or {}).items()) or "without labels",
        "left out": ", ".join(f"{name} {n}" for name, n in data["left_out"].items()),
        "labels": ", ".join(settings["labels"]),
        "changed clips": f"at most {settings['max_clips']}, drawn evenly over speakers and emotions",
        "seed": settings["seed"],
        "noise": ", ".join(settings["noise"]),
    }
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text != ""
    )
    return f"<dl>{rows}</dl>"


# --- texts --------------------------------------------------------------------------------------------


def _title(document: Document) -> str:
    return f"Behaviour of {document['model']['name']} {document['model']['version']}".rstrip()


def _describe_data(document: Document) -> str:
    data = document["data"]
    return f"{', '.join(data['corpora'])}: {data['n_clips']} clips of {speakers(data['n_speakers'])}"


def _describe_summary(document: Document) -> str:
    whole = document["summary"][0]
    n = whole["passed"] + whole["failed"]
    rest = f"; {whole['not applicable']} not applicable" if whole["not applicable"] else ""
    return f"{whole['passed']} of {n} tests passed{rest}"


def _by_category(document: Document) -> Iterator[tuple[str, Sequence[Test]]]:
    for row in document["summary"][1:]:
        tests = [test for test in document["tests"] if test["category"] == row["category"]]
        if tests:
            yield row["category"], tests


def _describe_settings(document: Document) -> str:
    labels = document["settings"]["labels"]
    return f"{len(labels)} labels: {', '.join(labels)}. Intervals (95 %) are over speakers."


def _describe_result(test: Test) -> str:
    return f"{_value(test)}, {_limit(test)}"


_UNITS = ("db", "dbfs", "hz", "s", "ms", "kbps", "percent")


def _describe_step(step: Mapping[str, Any]) -> str:
    settings = []
    for name, value in step.items():
        if name == "kind":
            continue
        text = " to ".join(f"{end:g}" for end in value) if isinstance(value, list) else str(value)
        quantity, _, unit = name.rpartition("_")
        if unit in _UNITS:
            shown = {"db": "dB", "dbfs": "dBFS", "hz": "Hz", "kbps": "kbit/s", "percent": "%"}.get(unit, unit)
            settings.append(f"{quantity.replace('_', ' ')} {text} {shown}".strip())
        else:
            settings.append(f"{name.replace('_', ' ')} {text}")
    return f"{step['kind']} ({', '.join(settings)})" if settings else str(step["kind"])


def _anchor(test: Test) -> str:
    return "test-" + "".join(c if c.isalnum() else "-" for c in test["name"].lower())


def _span_or_missing(row: Mapping[str, Any]) -> str:
    return MISSING if row["low"] is None else f"{figure(row['low'])} to {figure(row['high'])}"


def _value(test: Test) -> str:
    value = test["value"]
    # -0.0003 below a limit of 0 is not "-0.000".
    text = f"{value:.1g}" if 0 < abs(value) < 0.0005 else figure(value)
    if test["low"] is None:
        return text
    return f"{text} [{figure(test['low'])}, {figure(test['high'])}]"


def _limit_sign(test: Test) -> str:
    if test["limit"] is None:
        return MISSING
    return f"{'≥' if test['better'] == 'higher' else '≤'} {test['limit']:.3g}"


def _limit(test: Test) -> str:
    if test["limit"] is None:
        return MISSING
    return f"at {'least' if test['better'] == 'higher' else 'most'} {test['limit']:.3g}"

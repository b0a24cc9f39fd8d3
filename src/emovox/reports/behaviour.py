"""The report of behavioural tests as lines for a terminal, as Markdown and as an HTML page.

All are made from the document of `emovox.evaluation.behaviour`; no score is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.html import badge, escape, page, section, table
from emovox.reports.text import MISSING, figure, markdown_table, speakers

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
            text = test["reason"] or f"{_value(test)}, {_limit(test)}"
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
        lines += ["Failed: " + "; ".join(f"{t['name']} ({_value(t)}, {_limit(t)})" for t in failed) + "."]
    return " ".join(lines)


_HEADS = ["test", "result", "value", "interval (95 %)", "limit", "clips", "source of the limit"]


def _cells(test: Test) -> list[object]:
    low, high = test["low"], test["high"]
    return [
        test["name"],
        test["status"],
        figure(test["value"]) if test["reason"] is None else test["reason"],
        MISSING if low is None else f"{figure(low)} to {figure(high)}",
        _limit(test),
        test["n_clips"] or MISSING,
        test["source"],
    ]


def behaviour_html(document: Document) -> str:
    """Format the report as an HTML page that needs no other file."""
    parts = [f"<header><h1>{escape(_title(document))}</h1>"]
    parts.append(f'<p class="soft">{escape(_describe_data(document))}.</p></header>')
    if document["stamp"] is not None:
        parts.append(badge(document["stamp"]["stamp"], document["stamp"]["reasons"]))
    parts.append(f"<p>{escape(_describe_summary(document))}.</p>")
    for category, tests in _by_category(document):
        parts.append(section(category.capitalize(), table(_HEADS, [_cells(test) for test in tests])))
    parts.append(f"<footer>{escape(_FOOT)} {escape(document['emovox'])}.</footer>")
    return page(_title(document), "\n".join(parts))


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


def _value(test: Test) -> str:
    if test["low"] is None:
        return figure(test["value"])
    return f"{figure(test['value'])} [{figure(test['low'])}, {figure(test['high'])}]"


def _limit(test: Test) -> str:
    if test["limit"] is None:
        return MISSING
    return f"at {'least' if test['better'] == 'higher' else 'most'} {test['limit']:g}"

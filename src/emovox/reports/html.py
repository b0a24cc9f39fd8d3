"""Parts of HTML pages: one file that needs no other, light and dark, printable."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "badge", "bar_table", "escape", "heat_table", "page", "section", "table"]

_CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #59636e; --line: #d5dbe1;
  --wash: #f5f7f9; --blue: #1f5fa8; --heat: 31 95 168; --green: #1a7f4b; --amber: #9a6200; --red: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e4e7eb; --soft: #9aa5b1;
  --line: #353c45; --wash: #1c2127; --blue: #74b0f4; --heat: 44 104 178; --green: #5ecb8f; --amber: #e6b450;
  --red: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.2rem 1.2rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.12rem; margin: 2.4rem 0 .7rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .87rem; }
.stamp { border: 1px solid var(--line); border-left: .35rem solid var(--tone); background: var(--wash);
  border-radius: .3rem; padding: .8rem 1rem; margin: 1.3rem 0; }
.stamp b { color: var(--tone); text-transform: uppercase; letter-spacing: .05em; }
.stamp ul { margin: .35rem 0 0; padding-left: 1.1rem; }
.strict { --tone: var(--green); } .text-shared, .unverified { --tone: var(--blue); }
.speaker-dependent { --tone: var(--amber); } .contaminated { --tone: var(--red); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.figures div { border: 1px solid var(--line); border-radius: .3rem; padding: .6rem .8rem; }
.figures b { display: block; font-size: 1.45rem; line-height: 1.3; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.figures span { display: block; color: var(--soft); font-size: .84rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem;
  margin: .3rem 0 .8rem; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .28rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 500; white-space: normal; }
thead th { color: var(--soft); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: .1rem; }
.wide tbody th, .wide thead th:first-child { position: sticky; left: 0; background: var(--paper); }
.words td { text-align: left; white-space: normal; }
tfoot td { color: var(--soft); border-bottom: 0; }
.heat td { min-width: 3.9rem; text-align: center; border: 1px solid var(--paper); padding: .38rem .3rem; }
.heat td.deep { color: #fff; } .heat td.right { font-weight: 700; }
.heat td { background: rgb(var(--heat) / var(--deep, 0)); }
.heat thead th { text-align: center; } .heat tbody th { padding-right: .9rem; border: 0; }
.row { display: flex; flex-wrap: wrap; gap: 0 3.5rem; }
figure { margin: .3rem 0 1rem; } figure svg { display: block; width: 100%; min-width: 26rem; height: auto; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif
  !important; }
.bars th, .bars td { text-align: left; }
.bars .bar { width: 18rem; min-width: 12rem; padding: 0; border-left: 1px solid var(--soft); }
.bars .bar div { position: relative; height: 1.15rem; }
.bars i, .bars s, .bars u { position: absolute; display: block; }
.bars i { inset: 0 auto 0 0; background: var(--blue); border: 1px solid var(--line); border-left: 0; }
.bars s { top: .45rem; height: .25rem; background: var(--ink); outline: 1px solid var(--paper); }
.bars u { top: -.35rem; bottom: -.35rem; border-left: 1px dashed var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.1rem; margin: .4rem 0;
  font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; color: var(--soft);
  font-size: .85rem; }
@media (max-width: 40rem) { th, td { padding: .28rem .5rem; } .heat td { min-width: 2.7rem; }
  .heat thead th { font-size: .8rem; } }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #fff; --blue: #1f5fa8;
  --heat: 31 95 168; --green: #1a7f4b; --amber: #8a5700; --red: #b3261e; }
  body { padding: 0; max-width: none; font-size: 10.5pt; } * { print-color-adjust: exact; }
  .wide { overflow: visible; } figure svg { min-width: 0; }
  details::details-content { content-visibility: visible; }
  section, figure, table, .stamp { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def escape(value: object) -> str:
    """Escape text for HTML, also inside an attribute; invalid Unicode is shown as its code."""
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode())


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole document around ``body``, which is HTML; most pages need no script."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{_script_policy(script)}<title>{escape(title)}</title>\n<style>{_CSS}{style}</style>\n</head>\n"
        f"<body>\n{body}\n{f'<script>{script}</script>' if script else ''}</body>\n</html>\n"
    )


def _script_policy(script: str) -> str:
    """A policy that allows this script alone, and nothing from other places than the page's folder."""
    if not script:
        return ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; media-src data: 'self' file:\">\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a heading and its content; empty where there is no content."""
    inner = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{inner}\n</section>" if inner else ""


def badge(stamp: str, reasons: Sequence[str]) -> str:
    """Return the stamp with its reasons."""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f'<div class="stamp {escape(stamp)}"><b>{escape(stamp)}</b><ul>{items}</ul></div>'


def table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, foot: str = "", words: bool = False
) -> str:
    """Return a table whose first column names the rows; ``words``: the others hold text, not numbers."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    kind = ' class="words"' if words else ""
    last = f'<tfoot><tr><td colspan="{len(heads)}">{escape(foot)}</td></tr></tfoot>' if foot else ""
    return (
        f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>'
        f"{last}</table></div>"
    )


def heat_table(
    rows: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    *,
    caption: str,
    shares: bool = False,
) -> str:
    """Return a table of counts, coloured by their share of the row, the diagonal in bold.

    Args:
        shares: show the share in per cent; the count is in the tooltip.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(
            _heat(n, sum(line), right=name == column, shares=shares)
            for column, n in zip(columns, line, strict=True)
        )
        + f"<td>{sum(line)}</td></tr>"
        for name, line in zip(rows, counts, strict=True)
    )
    return (
        f'<div class="wide"><table class="heat"><caption>{escape(caption)}</caption>'
        f'<thead><tr><th scope="col">true ↓ predicted →</th>{head}<th scope="col">clips</th></tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _heat(n: int, whole: int, *, right: bool, shares: bool) -> str:
    share = n / whole if whole else 0.0
    classes = " ".join(name for name, is_so in (("deep", share > 0.8), ("right", right)) if is_so)
    kind = f' class="{classes}"' if classes else ""
    tip = f"{n} clips" if shares else f"{share:.1%}"
    text = (f"{100 * share:.0f}" if shares else str(n)) if n else "·"
    return f'<td{kind} style="--deep:{share:.3f}" title="{tip}">{text}</td>'


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of `bar_table`; lengths are fractions of the whole width."""

    name: str
    value: float
    text: str
    colour: str = ""
    """As ``#rrggbb``; the page's blue by default."""
    low: float | None = None
    high: float | None = None


def bar_table(heads: Sequence[str], bars: Sequence[Bar], *, mark: float | None = None) -> str:
    """Return a table with a bar in each row, its interval as a line, and a broken line at ``mark``.

    Args:
        heads: of the columns of names, bars and texts.
    """
    rows = []
    for bar in bars:
        ground = f";background:{escape(bar.colour)}" if bar.colour else ""
        parts = [f'<i style="width:{100 * bar.value:.1f}%{ground}"></i>']
        if bar.low is not None and bar.high is not None:
            parts.append(f'<s style="left:{100 * bar.low:.1f}%;width:{100 * (bar.high - bar.low):.1f}%"></s>')
        if mark is not None:
            parts.append(f'<u style="left:{100 * mark:.1f}%"></u>')
        rows.append(
            f'<tr><th scope="row">{escape(bar.name)}</th><td class="bar"><div>{"".join(parts)}</div></td>'
            f"<td>{escape(bar.text)}</td></tr>"
        )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table class="bars"><thead><tr>{head}</tr></thead><tbody>\n{body}\n'
        "</tbody></table></div>"
    )

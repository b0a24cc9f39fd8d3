"""The documentation as a whole: experiments, tutorials from top to bottom, length of pages, words."""

from __future__ import annotations

import ast
import io
import os
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SEPARATOR = "-- next block --"


def run_tutorial(text: str, folder: Path) -> list[tuple[str, str]]:
    """Run the Python and the commands of a page in a folder with ``examples``.

    Returns:
        What each block printed, and what the page shows of it.
    """
    (folder / "examples").symlink_to(DOCS.parent / "examples")
    tools = folder / "tools"
    tools.mkdir()
    (tools / "emovox").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emovox "$@"\n')
    (tools / "emovox").chmod(0o755)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # All Python runs in one process, then the commands on the files that it wrote.
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.M | re.S)
    code = f'\nprint("{SEPARATOR}", end="")\n'.join(code for code, _ in blocks)
    printed = run([sys.executable, "-W", "error", "-c", code]).split(SEPARATOR)
    compared = [(ours, shown) for ours, (_, shown) in zip(printed, blocks, strict=True)]
    for console in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.M):
            compared.append((run(["bash", "-c", command]), shown))
    return compared


@pytest.mark.parametrize("name", ["transcripts", "live"])
def test_tutorial_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    compared = run_tutorial((DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8"), tmp_path)
    assert len(compared) >= 4
    number = re.compile(r"\d+\.\d+|\d+%")
    for printed, shown in compared:
        # Probabilities in 8 bits differ between processors: labels and times have to agree, the rest roughly.
        ours, theirs = (re.sub(r" \(.*|  then.*|[█░]+", "", one) for one in (printed, shown))
        lines = [
            [re.sub(r"(?<= )\d\.\d\d  .*", "#", line) for line in one.splitlines()] for one in (ours, theirs)
        ]
        assert [number.sub("#", line) for line in lines[0]] == [number.sub("#", line) for line in lines[1]]
        values = [
            [float(x.strip("%")) / (100 if "%" in x else 1) for x in number.findall("\n".join(one))]
            for one in lines
        ]
        assert values[0] == pytest.approx(values[1], abs=0.2)


def test_experiments_index_is_current() -> None:
    script = runpy.run_path(str(DOCS.parent / "scripts" / "index_experiments"))
    index = (DOCS / "experiments" / "index.md").read_text(encoding="utf-8")
    assert index == script["make_index"](), "run scripts/index_experiments"
    assert index.count("\n- 2026-") >= 46


# A picture or a turn of spoken language -> the field's word, or the plain one.
WORDS = {
    r"judg(e|es|ed|ing|ements?)": "predict, classify, score, test",
    r"hears?": "process, read, find",
    r"(?<!that was )heard": "processed, played",
    r"never met": "not trained on",
    r"nobody|whoever": "the passive",
    r"(is|are|was|unless) told(?! to stop)": "reported, printed, asked (people must be told: Art. 50(3))",
    r"says so": "a warning is printed",
    r"goes on": "continues",
    r"workshops?(?! \d)|zoo|crew|streets?|houses?": "training, registry, workers",
    r"wants the": "requires the",
    r"along (its|the) time": "over time",
    r"lies? (at|below|above|in|outside)": "is",
}


def prose() -> Iterator[tuple[str, str]]:
    """Paragraphs of documents without code, and docstrings and comments of the package, with their place."""
    root = DOCS.parent
    names = ("README.md", "SECURITY.md", "CONTRIBUTING.md")
    for page in [*(root / name for name in names), *DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")]:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^### Glossary.*?^## ", "", text, flags=re.M | re.S)  # names the words to avoid
        yield page.name, re.sub(r"^```.*?^```|`[^`]*`|^    .*$", "", text, flags=re.M | re.S)
    for module in sorted((root / "src" / "emovox").rglob("*.py")):
        code = module.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = str(node.value.value)
                yield f"{module.name}:{node.lineno}", re.sub(r"``.*?``|`[^`]*`", "", text)
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                yield f"{module.name}:{token.start[0]}", token.string


def test_word_list() -> None:
    found = [
        f"{place}: {match[0]!r} -> {better}"
        for place, text in prose()
        for word, better in WORDS.items()
        for match in re.finditer(rf"\b({word})\b", text)
    ]
    assert found == []


def test_pages_are_short() -> None:
    # Reference: read where it is needed, not from top to bottom.
    reference = {"features", "serve", "seeds", "architecture"}
    for page in [*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")]:
        n_words = len(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).split())
        assert n_words <= 1500 or page.stem in reference, f"{page.name} has {n_words} words"

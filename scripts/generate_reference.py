"""Write the reference pages of the docs site: public Python names, commands, HTTP, and the glossary."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import click
import mkdocs_gen_files
from typer.main import get_command

import emovox
from emovox.cli.app import app
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings

MODULES = ("emovox.results", "emovox.errors", "emovox.client", "emovox.reports")


def write_python() -> None:
    """List the names of `emovox`, then those of the public modules."""
    with mkdocs_gen_files.open("reference/python.md", "w") as page:
        page.write("# Python\n\nThe names of `import emovox`, then modules imported by their own names.\n\n")
        # They are imported when they are used, so their modules are read from the source.
        tree = ast.parse(Path(emovox.__file__).read_text(encoding="utf-8"))
        homes = {
            alias.asname or alias.name: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for name in sorted(set(emovox.__all__) & set(homes), key=str.lower):
            page.write(f"::: {homes[name]}.{name}\n\n")
        for module in MODULES:
            page.write(f"::: {module}\n\n")


def write_commands() -> None:
    """Print the help of every command, as `emovox COMMAND --help` does at 100 columns."""
    with mkdocs_gen_files.open("reference/commands.md", "w") as page:
        page.write("# Commands\n\n")
        root = get_command(app)
        stack = [("emovox", root, click.Context(root, info_name="emovox", terminal_width=100))]
        while stack:
            name, command, context = stack.pop()
            page.write(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n\n")
            if isinstance(command, click.Group):
                for child in reversed(command.list_commands(context)):
                    found = command.get_command(context, child)
                    if found is not None and not found.hidden:
                        below = click.Context(found, info_name=child, parent=context, terminal_width=100)
                        stack.append((f"{name} {child}", found, below))


def write_http() -> None:
    """List requests and answers of the server, from the OpenAPI document that it gives."""
    document = create_app(ServerSettings()).openapi()
    with mkdocs_gen_files.open("reference/http.md", "w") as page:
        page.write(
            "# HTTP\n\nFrom the OpenAPI document that `emovox serve` gives at `/openapi.json`. "
            "How to run it, keys, limits and the WebSocket: [Server, client and page](../serve.md).\n\n"
        )
        for path, methods in document["paths"].items():
            for method, one in methods.items():
                page.write(
                    f"## {method.upper()} {path}\n\n{one['summary']}. {one.get('description', '')}\n\n"
                )
                if parameters := one.get("parameters"):
                    rows = [
                        (f"`{p['name']}`", describe_type(p["schema"]), clean(p.get("description", "")))
                        for p in parameters
                    ]
                    page.write(table(("parameter", "type", ""), rows))
                if "requestBody" in one:
                    kinds = ", ".join(f"`{kind}`" for kind in one["requestBody"]["content"])
                    page.write(f"Body: {kinds}.\n\n")
                answers = [
                    (code, name_answer(answer), clean(answer["description"]))
                    for code, answer in one["responses"].items()
                ]
                page.write(table(("status", "answer", ""), answers))
        page.write("## Answers\n\n")
        for name, schema in sorted(document["components"]["schemas"].items()):
            page.write(f"### {name}\n\n{clean(schema.get('description', ''))}\n\n")
            required = schema.get("required", ())
            rows = [
                (
                    f"`{key}`" + ("" if key in required else " (may be absent)"),
                    describe_type(value),
                    clean(value.get("description", "")),
                )
                for key, value in schema.get("properties", {}).items()
            ]
            page.write(table(("key", "type", ""), rows))


def describe_type(schema: dict[str, Any]) -> str:
    """Describe a JSON schema in a few words, with links to the answers of this page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {describe_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {describe_type(schema['additionalProperties'])}"
    default = f", default `{json.dumps(schema['default'])}`" if schema.get("default") is not None else ""
    return kind + default


def name_answer(answer: dict[str, Any]) -> str:
    """Name the bodies of a response."""
    kinds = [
        describe_type(content["schema"]) if content.get("schema") else f"`{kind}`"
        for kind, content in answer.get("content", {}).items()
    ]
    return ", ".join(dict.fromkeys(kinds))


def clean(text: str) -> str:
    """Join lines, since a row of a table is one line."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines) + "\n" if rows else ""


def write_glossary() -> None:
    """Copy the glossary of CONTRIBUTING.md, of the terms that documents and messages use."""
    text = Path("CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.search(r"^### Glossary\n\n(.*?)\n\n", text, re.M | re.S)
    assert rows is not None
    lines = ["|".join(line.split("|")[:3]) + "|" for line in rows[1].splitlines()]
    with mkdocs_gen_files.open("reference/glossary.md", "w") as page:
        page.write("# Glossary\n\nOne word has one meaning, in documents, commands and names.\n\n")
        page.write("\n".join(lines) + "\n")


write_python()
write_commands()
write_http()
write_glossary()

"""Write the reference pages of the docs site: the public Python names and the help of every command."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import mkdocs_gen_files
from typer.main import get_command

import emovox
from emovox.cli.app import app

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


write_python()
write_commands()

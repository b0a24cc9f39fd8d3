"""Groups of commands that import a command only when it is called, and answer a mistyped name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from emovox.errors import did_you_mean

__all__ = ["Group", "LazyCommand"]


class LazyCommand(NamedTuple):
    """Where a command is, and what the help of its group prints without importing it."""

    module: str
    summary: str
    """First line of the command's help."""
    epilog: str | None = None
    passes_unknown_options: bool = False

    def load(self, name: str) -> Any:
        """Import the module: its ``app`` is a group, else its function ``name`` is the command."""
        module = importlib.import_module(self.module)
        if hasattr(module, "app"):
            return get_command(module.app)
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        settings = {"ignore_unknown_options": True} if self.passes_unknown_options else None
        single.command(name, epilog=self.epilog, context_settings=settings)(getattr(module, name))
        return get_command(single)


class Group(TyperGroup):
    """A group with ``lazy`` commands beside the registered ones."""

    lazy: ClassVar[Mapping[str, LazyCommand]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.lazy:
            return self.lazy[cmd_name].load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        if not self.lazy:
            super().format_commands(ctx, formatter)
            return
        # Typer would import every command to print its summary: slow, and an absent extra would break --help.
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.lazy.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            ctx.fail(self.explain_unknown(name))
        return super().resolve_command(ctx, args)

    def explain_unknown(self, name: str) -> str:
        """What to print when there is no command ``name``."""
        return f"no command {name!r}; {did_you_mean(name, (*self.commands, *self.lazy))}"

"""Groups of commands that answer a typing mistake with what was meant, and load some only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperGroup
from typer.main import get_command

from emovox.errors import did_you_mean

__all__ = ["Commands"]


class Commands(TyperGroup):
    """A group whose unknown commands are answered by ``meant``."""

    LATER: ClassVar[Mapping[str, str]] = {}
    """Name of a group -> the module whose ``app`` it is, which no other command has to wait for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self.LATER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.LATER:
            return get_command(importlib.import_module(self.LATER[cmd_name]).app)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            ctx.fail(self.meant(name))
        return super().resolve_command(ctx, args)

    def meant(self, name: str) -> str:
        """What to tell someone who typed ``name``."""
        known = (*self.commands, *self.LATER)
        return f"no command {name!r}; {did_you_mean(name, known)}"

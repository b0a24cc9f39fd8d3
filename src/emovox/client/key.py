"""The API key: shown to the server, and never in an error."""

from __future__ import annotations

from emovox.errors import ConfigError

__all__ = ["authorization"]


def authorization(api_key: str | None) -> dict[str, str]:
    """The header that presents a key, without the white space around it, such as a file's last newline.

    Raises:
        ConfigError: no header can hold it. The libraries below would say so too, and print it.
    """
    if api_key is None:
        return {}
    key = api_key.strip() if isinstance(api_key, str) else ""
    if not (key and key.isascii() and key.isprintable()):
        raise ConfigError("the API key is none; expected a line of printable ASCII, as the server has it")
    return {"Authorization": f"Bearer {key}"}

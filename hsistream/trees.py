"""Nested settings: dotted keys, trees of tables, and their TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from hsistream.errors import ConfigError


def key_path(key: str) -> list[str]:
    """Split a dotted key by the rules of TOML: ``views.weights."mnf.edge"`` has three parts."""
    try:
        tree = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--set needs section.key=value, but the key is {key!r}.") from error
    path: list[str] = []
    while isinstance(tree, dict):
        [(name, tree)] = tree.items()
        path.append(name)
    return path


def nested(keys: list[str], value: Any) -> dict[str, Any]:
    """Turn a dotted key into nested tables."""
    return {keys[0]: nested(keys[1:], value) if keys[1:] else value}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Overlay one tree on another."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def toml_value(value: Any) -> str:
    """Write one value as TOML; of a table, None is left out."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        known = ((key, item) for key, item in value.items() if item is not None)
        pairs = (f"{toml_value(key)} = {toml_value(item)}" for key, item in known)
        return "{" + ", ".join(pairs) + "}"
    return repr(value)

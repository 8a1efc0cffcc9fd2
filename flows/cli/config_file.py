"""Read and write settings as TOML: fields of `AnalyzeSettings` at the top, other settings in tables.

fps = 5.0
detector = "compact"

[timeline]
time_constant_s = 0.5
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_models.errors import FervidError
from fer_models.files import NotRegularFileError, check_regular_file

TABLES = ("timeline", "engine", "live")
MAX_BYTES = 1_000_000


class ConfigError(FervidError, ValueError):
    """A configuration file cannot be read."""


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """Read a configuration file: the values of each table; those at the top have the key "".

    Raises:
        ConfigError: if the file is missing or is not TOML, or has an unknown table.
    """
    try:
        check_regular_file(path)
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than 1 MB: give a TOML file with settings")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except NotRegularFileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: give an existing TOML file") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not a TOML file: nested too deeply") from error
    except ValueError as error:  # the base class of TOMLDecodeError and UnicodeDecodeError
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    if unknown := tables.keys() - set(TABLES):
        raise ConfigError(f"{path}: unknown table [{min(unknown)}]: known are {', '.join(f'[{t}]' for t in TABLES)}")
    return {"": {name: value for name, value in content.items() if name not in tables}, **tables}


def write_config(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Format tables of values as TOML; None is omitted, because TOML has no such value.

    >>> print(write_config({"": {"fps": 5.0, "model": "default", "end_s": None}, "timeline": {"gate": True}}))
    fps = 5.0
    model = "default"
    <BLANKLINE>
    [timeline]
    gate = true
    """
    lines: list[str] = []
    for name, values in tables.items():
        lines += ["", f"[{name}]"] if name else []
        # JSON strings, numbers, booleans and lists of numbers are valid TOML.
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value is not None
        ]
    return "\n".join(lines)

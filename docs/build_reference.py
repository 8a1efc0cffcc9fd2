"""Pages of the documentation site that are made from the code: the commands and the Python API (a MkDocs hook)."""

from pathlib import Path
from typing import Any, get_args

import typer
from mkdocs.structure.files import File, Files

API = {
    "fer_models": ("read_frames", "load_detector", "load_classifier", "FrameBatch", "FaceBatch"),
    "analytics": ("connect", "query", "Store", "build_timeline", "TimelineConfig"),
    "flows": ("analyze",),
}
TYPES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages to the manually written ones."""
    for uri, text in (("reference/commands.md", commands_page()), ("reference/python.md", python_page())):
        files.append(File.generated(config, uri, content=text))
    return files


def commands_page() -> str:
    """Every command with its arguments and options, from the command line itself."""
    from flows.cli.app import app

    group: Any = typer.main.get_command(app)
    lines = ["# Commands", "", group.help or "", "", group.epilog or "", ""]
    for name, command in find_commands(group, "fervid"):
        lines += [f"## `{name}`", "", (command.help or "").replace("\b", ""), ""]
        rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        if rows:
            lines += ["| argument or option | value | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def find_commands(group: Any, prefix: str) -> list[tuple[str, Any]]:
    """Every command below a group, by its full name such as `fervid models add`."""
    found = []
    for name, listed in group.commands.items():
        command = listed.load() if hasattr(listed, "load") else listed
        nested = hasattr(command, "commands")
        if not nested or command.invoke_without_command:
            found.append((f"{prefix} {name}", command))
        if nested:
            found += find_commands(command, f"{prefix} {name}")
    return found


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    meaning = " ".join(parameter.help.split()).replace("|", "\\|")
    return f"| {names} | {_values(parameter)} | {_default(parameter)} | {meaning} |"


def _values(parameter: Any) -> str:
    """The choices of a parameter, or the placeholder or type of an option's value; empty for a switch."""
    kind = parameter.type_descriptor
    if kind.choices:
        return ", ".join(f"`{_text(choice)}`" for choice in kind.choices)
    if parameter.param_type_name == "argument" or parameter.is_flag:
        return ""
    type_of_value = get_args(kind.annotation)[0] if kind.is_list else kind.annotation
    return f"`{parameter.metavar or TYPES[type_of_value]}`".replace("|", "\\|")


def _default(parameter: Any) -> str:
    """The default of a parameter; that of a switch is the name of it that is on, if any."""
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False):
        return f"`{parameter.opts[0]}`" if parameter.default else ""
    return "" if parameter.default in (None, (), [], "") else f"`{_text(parameter.default)}`"


def _text(value: Any) -> str:
    value = getattr(value, "value", value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def python_page() -> str:
    """The names that everyone uses, from their docstrings."""
    lines = ["# Python API", ""]
    for package, names in API.items():
        lines += [f"## `{package}`", "", *(f"::: {package}.{name}\n" for name in names)]
    return "\n".join(lines)

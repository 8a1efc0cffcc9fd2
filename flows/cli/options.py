"""Command-line options generated from the fields of settings classes.

The field `min_face_px` of `AnalyzeSettings` becomes the option `--min-face` with the type, default, lower bound and
description of the field. The unit at the end of its name becomes the placeholder of the value.
"""

import difflib
import functools
import inspect
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer
from annotated_types import Ge
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, SettingsError

from flows.cli.config_file import ConfigError, read_config
from flows.cli.console import errors, is_typed
from flows.cli.escaping import escape_controls
from flows.cli.validation import explain
from flows.settings import AnalyzeSettings, EngineSettings, FervidSettings, LiveSettings, Time, TimelineSettings

# Maps a unit at the end of a field's name to the placeholder of its value in help texts.
UNITS = {"_s": "SECONDS", "_px": "PIXELS"}
TIME_METAVAR = "[[HH:]MM:]SS"
# Maps each settings class to the table of a configuration file with its fields; "" is the top of the file.
TABLE_OF: dict[type[FervidSettings], str] = {
    AnalyzeSettings: "",
    TimelineSettings: "timeline",
    EngineSettings: "engine",
    LiveSettings: "live",
}
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read settings from this TOML file, such as the one that `fervid analyze --dry-run` prints. Options and "
        "FERVID_ variables override it.",
    ),
]
Command = Callable[..., None]
S = TypeVar("S", bound=FervidSettings)


def with_settings(*, without: Collection[str] = (), **kinds: type[FervidSettings]) -> Callable[[Command], Command]:
    """Add an option for each field of some settings to a command, which gets the settings as keyword arguments.

    Args:
        without: fields that get no option.
        kinds: the settings class of each keyword argument, such as `settings=AnalyzeSettings`.
    """
    fields = {name: field for kind in kinds.values() for name, field in kind.model_fields.items()}
    names = [name for name, field in fields.items() if name not in without and not is_group(field)]

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name not in kinds]

        def run(context: typer.Context, config: Path | None, **values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            # Only typed options count, because defaults of options must not override the environment or the file.
            given = {name: value for name, value in given.items() if is_typed(context, name)}
            loaded = {key: load_settings(kind, given, config) for key, kind in kinds.items()}
            command(**values, **loaded)

        functools.update_wrapper(run, command)
        parameters = [
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
            *(parameter_of(name, fields[name]) for name in names),
            inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by Typer
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def is_group(field: FieldInfo) -> bool:
    """Whether a field contains other settings, whose fields are options of their own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, FervidSettings)


def group_of(field: FieldInfo) -> type[FervidSettings]:
    """The class of the settings that a field contains."""
    assert isinstance(field.annotation, type) and issubclass(field.annotation, FervidSettings)
    return field.annotation


def parameter_of(name: str, field: FieldInfo) -> inspect.Parameter:
    """The parameter that becomes the option of a field in Typer."""
    kind = type_of(field)
    unit = next((unit for unit in UNITS if name.endswith(unit)), "")
    is_time = any(of is str for of in (kind, *get_args(kind))) and unit == "_s"
    metavar = TIME_METAVAR if is_time else UNITS.get(unit)
    option = typer.Option(
        *([option_name(name)] if kind is not bool or field.default is False else []),
        metavar=f"{metavar} {metavar}" if get_origin(kind) is tuple else metavar,
        min=next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None),  # type: ignore[arg-type]
        help=field.description,
    )
    kind = kind if field.default is not None else kind | None  # type: ignore[assignment]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
    )


def option_name(field: str) -> str:
    """The option of a field: its name without the unit.

    >>> option_name("min_face_px"), option_name("batch_size")
    ('--min-face', '--batch-size')
    """
    unit = next((unit for unit in UNITS if field.endswith(unit)), "")
    return f"--{field.removesuffix(unit).replace('_', '-')}"


def type_of(field: FieldInfo) -> Any:
    """The type of a field for Typer: without None, and text for times, which the settings parse."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (of for of in get_args(kind) if of is not types.NoneType)
    if get_origin(kind) is tuple:
        return tuple[tuple(str if of == Time else of for of in get_args(kind))]  # type: ignore[misc]
    if kind == Time:
        return str
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def load_settings(kind: type[S], given: Mapping[str, Any] | None = None, config: Path | None = None) -> S:
    """Load settings. Priority: command line, environment, TOML file, defaults.

    Args:
        kind: the class of the settings.
        given: values from the command line by field; fields of other classes are ignored.
        config: the TOML file.

    Raises:
        typer.BadParameter: if a value is not allowed.
    """
    warn_of_misspelled_variables()
    given = given or {}
    groups = {
        name: load_settings(group_of(field), given, config)
        for name, field in kind.model_fields.items()
        if is_group(field)
    }
    typed = {name: value for name, value in given.items() if name in kind.model_fields}
    try:
        in_file = read_known(config).get(TABLE_OF[kind], {}) if config else {}
        in_environment = EnvSettingsSource(kind)()
    except ConfigError as error:
        raise typer.BadParameter(escape_controls(str(error))) from error
    except SettingsError as error:
        raise typer.BadParameter(f"FERVID_ variables: {error}: give the value as JSON") from error
    try:
        return kind(**{**in_file, **in_environment, **groups, **typed})
    except ValidationError as error:
        table = f"{TABLE_OF[kind]}." if TABLE_OF[kind] else ""
        origins = {name: f"{config}: {table}{name}" for name in in_file}
        origins |= {name: variable(name) for name in in_environment} | {name: option_name(name) for name in typed}
        raise usage_error(error, origins) from error


def read_known(config: Path) -> dict[str, dict[str, Any]]:
    """Read a configuration file whose keys are names of settings, spelled exactly.

    Raises:
        ConfigError: if the file cannot be read, or has an unknown table or name.
    """
    tables = read_config(config)
    for kind, table in TABLE_OF.items():
        names = {name for name, field in kind.model_fields.items() if not is_group(field)}
        # pydantic would take a name in another letter case, and prefer it to the option.
        if unknown := tables.get(table, {}).keys() - names:
            name = min(unknown)
            hint = did_you_mean(name.lower(), [field for of in TABLE_OF for field in of.model_fields])
            raise ConfigError(f"{config}: {table + '.' if table else ''}{name}: unknown setting{hint}")
    return tables


def refuse_overwrite(settings: AnalyzeSettings) -> None:
    """Refuse a setting without an option here, with which every run would analyze all videos again.

    Raises:
        typer.BadParameter: if `overwrite` is set.
    """
    if settings.overwrite:
        raise typer.BadParameter("overwrite (FERVID_OVERWRITE or --config) would analyze all videos again in every run")


def tables_of(*settings: FervidSettings) -> dict[str, dict[str, Any]]:
    """The values of settings, by table of a configuration file."""
    tables: dict[str, dict[str, Any]] = {}
    for one in settings:
        groups = [name for name, field in type(one).model_fields.items() if is_group(field)]
        tables[TABLE_OF[type(one)]] = one.model_dump(mode="json", exclude=set(groups))
        tables |= tables_of(*(getattr(one, name) for name in groups))
    return tables


def usage_error(error: ValidationError, origins: Mapping[str, str]) -> typer.BadParameter:
    """The usage error (exit code 2) for wrong values; `origins` names the option, variable or key of each field."""
    return typer.BadParameter(escape_controls("; ".join(reason_of(problem, origins) for problem in error.errors())))


def reason_of(problem: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """One problem found by pydantic as a sentence: where the value is from, what is allowed, and the value."""
    if not problem["loc"]:  # a problem of several values, whose message names them
        return explain(problem)
    return f"{origins[str(problem['loc'][0])]}: {explain(problem)}"


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"FERVID_{field.upper()}"


@functools.cache  # each process warns only once
def warn_of_misspelled_variables() -> None:
    """Report environment variables that look like misspelled settings, and would be ignored silently."""
    known = [variable(field) for kind in TABLE_OF for field in kind.model_fields]
    for name in (name for name in os.environ if name.upper().startswith("FERVID_")):
        hint = did_you_mean(name.upper(), known)
        if name.upper() not in known and hint:
            errors.print(f"{name} is not a setting and is ignored{hint}", highlight=False)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the most similar known name; empty if none is similar."""
    close = difflib.get_close_matches(name, list(known), 1, 0.85)
    return f": did you mean {close[0]}?" if close else ""

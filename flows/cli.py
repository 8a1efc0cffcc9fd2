"""The command line: parses, calls the library, prints. Heavy imports wait until a command needs them."""

import contextlib
import importlib
import io
import json
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from flows.display import RunDisplay, print_plan, print_summary, table_of
from flows.prefect_server import prefect_server, without_console_log

if TYPE_CHECKING:
    from flows.settings import AnalyzeSettings

DONE, FATAL, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

# Options that the settings hold under a name with its unit.
FIELD_OF_OPTION = {"start": "start_s", "end": "end_s", "min_face": "min_face_px"}
WIDE = 200  # what is not a terminal (a file, a pipe) has room
RESUME = "run the same command with --resume to go on after the last epoch"
T = TypeVar("T")
console = Console(width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True)
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn videos into emotion timelines that can be queried, looked at and trusted.",
    epilog="Exit codes: 0 all done, 1 fatal, 2 usage, 3 some videos failed, 130 stopped by Ctrl-C.",
)
models_app = typer.Typer(help="The models at hand; `show NAME` for one of them.", invoke_without_command=True)
app.add_typer(models_app, name="models")


class Detector(StrEnum):
    """Which network finds faces."""

    auto = "auto"
    compact = "compact"
    retinaface = "retinaface"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Decoder(StrEnum):
    """Which library reads videos."""

    auto = "auto"
    decord = "decord"
    pyav = "pyav"


class Precision(StrEnum):
    """What training computes in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


Results = Annotated[Path, typer.Argument(help="A results folder, as `--out` of `fervid analyze` made it.")]


@app.command()
def analyze(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Videos, pictures, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The results folder; made if it is not there.")],
    fps: Annotated[float | None, typer.Option(help="Look at this many frames per second (default: all).")] = None,
    start: Annotated[float | None, typer.Option(metavar="S", help="Begin at this second of each video.")] = None,
    end: Annotated[float | None, typer.Option(metavar="S", help="Stop before this second of each video.")] = None,
    recursive: Annotated[bool, typer.Option(help="Look into folders in folders.")] = True,
    pattern: Annotated[str, typer.Option(metavar="GLOB", help="Of a folder, only files whose name fits.")] = "*",
    detector: Annotated[Detector, typer.Option(help="What finds faces.")] = Detector.auto,
    model: Annotated[str, typer.Option(metavar="NAME", help="What reads emotions: a name or a folder.")] = "default",
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    decoder: Annotated[Decoder, typer.Option(help="What reads videos.")] = Decoder.auto,
    batch_size: Annotated[int, typer.Option(min=1, help="At most this many frames at a time.")] = 32,
    min_face: Annotated[float, typer.Option(metavar="PX", min=0, help="Leave out smaller faces.")] = 12.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Analyse again what is done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Analyse videos and pictures into a results folder; what is done already is left alone."""
    from flows.inputs import find_videos
    from flows.settings import EngineSettings

    settings = settings_given(context)
    usage_checked(EngineSettings)  # read once the flow is imported, where it is too late for a word
    with fatal_errors():
        videos = find_videos(inputs, recursive=recursive, pattern=pattern)
        files = "1 file" if len(videos) == 1 else f"{len(videos)} files"
        errors.print(f"{files} to go through, results in {out}", highlight=False, markup=False, soft_wrap=True)
        if dry_run:
            from flows.video_job import plan_videos

            plans = plan_videos(videos, out, settings)
            if as_json:
                print(json.dumps([plan.as_json() for plan in plans], indent=2))
            else:
                print_plan(console, plans, out)
            return
        display = RunDisplay(errors, len(videos))
        without_console_log()
        with display, prefect_server() as wait_for_server, stop_on_interrupt():
            from flows.analyze import run_analyze
            from flows.progress import progress
            from flows.video_job import load_models

            progress.listen(display.show)
            load_models(settings)
            wait_for_server()
            progress.check()
            summary = run_analyze(inputs, out, recursive, pattern, settings)
        if as_json:
            print(json.dumps(summary.as_json(), indent=2))
        else:
            print_summary(console, summary, load_models(settings).describe())
    raise typer.Exit(SOME_FAILED if summary.failures else DONE)


@app.command()
def query(
    results: Results,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over videos, frames, faces, tracks, episodes.")],
    form: Annotated[Format, typer.Option("--format", help="How the rows are written.")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Ask SQL of the results; nothing can be changed."""
    from analytics.rows import write_rows
    from analytics.sql import query as ask

    with fatal_errors():
        if form == Format.parquet and output is None:
            raise typer.BadParameter("parquet is not text: give a file", param_hint="--output")
        rows = ask(results, sql)
        if form == Format.table:
            table = table_of(rows.column_names, list(zip(*(c.to_pylist() for c in rows.columns), strict=True)))
        if output is None:
            console.print(table) if form == Format.table else write_rows(rows, sys.stdout.buffer, form.value)
            return
        with output.open("wb") as file:
            if form == Format.table:
                Console(file=io.TextIOWrapper(file, "utf-8"), width=WIDE).print(table)
            else:
                write_rows(rows, file, form.value)


@app.command()
def dashboard(
    results: Results,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first free one from 8501.")] = None,
) -> None:
    """Show the results in a browser, on this machine only; Ctrl-C ends it."""
    from analytics.store import check_results

    with fatal_errors():
        check_results(results)
        from streamlit.web import bootstrap

        options = {
            "server_address": "127.0.0.1",
            "server_port": port,
            "server_allowedHosts": ["127.0.0.1", "localhost"],  # no other site's name may be pointed here
            "server_headless": True,  # no browser is opened, no e-mail address asked for
            "server_fileWatcherType": "none",
            "browser_gatherUsageStats": False,
            "client_toolbarMode": "viewer",
        }
        page = Path(__file__).parents[1] / "dashboard" / "app.py"
        bootstrap.load_config_options(options)
        bootstrap.run(str(page), False, [str(results.absolute())], options)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models at hand."""
    if context.invoked_subcommand is None:
        from fer_models.weights import model_folders, read_card

        with fatal_errors():
            cards = {name: read_card(folder) for name, folder in model_folders().items()}
            rows = [
                [name, card.task, card.architecture, card.parameters, card.summary(), card.sha256[:12]]
                for name, card in cards.items()
            ]
            console.print(table_of(["name", "task", "architecture", "parameters", "measured", "sha256"], rows))


@models_app.command("show")
def show_model(name: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")]) -> None:
    """Print the card of a model."""
    from fer_models.weights import find_model, read_card

    with fatal_errors():
        folder = find_model(name)
        console.print(f"{folder}", highlight=False, soft_wrap=True)
        console.print_json(data=read_card(folder).as_json())


@app.command()
def doctor() -> None:
    """Say what is here and what is missing: versions, devices, codecs, weights and their hashes."""
    with fatal_errors():
        from flows.doctor import examine

        findings = examine()
    rows = [[finding.what, finding.found, "ok" if finding.ok else "missing"] for finding in findings]
    console.print(table_of(["", "found", ""], rows))
    if wrong := [finding for finding in findings if finding.needed and not finding.ok]:
        fail("; ".join(f"{finding.what}: {finding.found}" for finding in wrong))


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to put the clips.")]) -> None:
    """Make a folder of short clips from public-domain photographs, to try everything on."""
    from flows.demo import make_demo_videos

    with fatal_errors():
        errors.print(f"making the demo clips in {folder}: about 15 s", highlight=False)
        for path in make_demo_videos(folder):
            console.print(str(path), highlight=False, soft_wrap=True)


@app.command()
def train(
    architecture: Annotated[str, typer.Argument(metavar="ARCH", help="An architecture, such as se_resnet.")],
    data: Annotated[Path, typer.Option(help="FER-2013 as Parquet.")],
    name: Annotated[str | None, typer.Option(help="The model's name (default: that of the architecture).")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    augment: Annotated[str, typer.Option(help="none or standard")] = "standard",
    labels: Annotated[str, typer.Option(help="hard: the data set's; votes: the annotators' shares")] = "hard",
    device: Annotated[Device, typer.Option()] = Device.auto,
    precision: Annotated[Precision, typer.Option(help="What to compute in; auto: what the device is fast in.")] = (
        Precision.auto
    ),
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train an emotion model; it is then at hand under its name."""
    show_training_log()
    from fer_models.classification.training import Recipe

    recipe = usage_checked(Recipe, architecture=architecture, epochs=epochs, augment=augment, labels=labels, seed=seed)
    with fatal_errors(RESUME), prefect_server() as wait_for_server:
        from flows.train import train as train_flow

        wait_for_server()
        folder = train_flow(data, name or architecture, recipe, device.value, precision.value, resume)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)


@app.command()
def train_detector(
    data: Annotated[Path, typer.Option(help="Photographs with boxes, as Parquet.")],
    name: Annotated[str, typer.Option(help="The detector's name.")] = "my_compact",
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    device: Annotated[Device, typer.Option()] = Device.auto,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a compact face detector; it is then at hand under its name."""
    show_training_log()
    with fatal_errors(RESUME), prefect_server() as wait_for_server:
        from flows.train_detector import train_detector as train_flow

        wait_for_server()
        folder = train_flow(data, name, epochs, seed, device.value, resume)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)


def show_training_log() -> None:
    """A line an epoch on the console, and nothing of what Prefect and Lightning have to say beside it."""
    without_console_log()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.getLogger("fer_models").addHandler(handler)
    logging.getLogger("fer_models").setLevel(logging.INFO)
    importlib.import_module("lightning.pytorch")  # sets the levels of its loggers when it is imported
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def settings_given(context: typer.Context) -> "AnalyzeSettings":
    """Settings from the command line, else the environment, else the defaults.

    Raises:
        typer.BadParameter: if a value is out of its bounds.
    """
    from flows.settings import AnalyzeSettings

    given = {
        FIELD_OF_OPTION.get(name, name): value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    given = {name: value for name, value in given.items() if name in AnalyzeSettings.model_fields}
    return usage_checked(AnalyzeSettings, **given)


def usage_checked(make: Callable[..., T], **values: Any) -> T:
    """`make(**values)`, a wrong value being the user's: exit code 2 and what is allowed."""
    try:
        return make(**values)
    except ValueError as error:  # pydantic's ValidationError is one
        problems: list[Any] = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        reasons = [
            ": ".join([*map(option_of, problem["loc"]), problem["msg"].removeprefix("Value error, ")])
            for problem in problems
        ]
        raise typer.BadParameter("; ".join(reasons)) from error


def option_of(field: str) -> str:
    """The option and the variable that set a field of the settings; some have the variable alone."""
    if field in ("segment_s", "workers"):
        return f"FERVID_{field.upper()}"
    name = next((option for option, of in FIELD_OF_OPTION.items() if of == field), field)
    return f"--{name.replace('_', '-')} or FERVID_{field.upper()}"


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C (or the signal of a scheduler) ask the run to stop in order; a second ends it at once."""
    from flows.progress import progress

    def ask(signum: int, frame: object) -> None:
        if progress.stop_requested.is_set():
            raise KeyboardInterrupt
        progress.stop_requested.set()
        errors.print("stopping in order; Ctrl-C again stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def fatal_errors(way_on: str = "run the same command again to go on") -> Iterator[None]:
    """Turn what can go wrong in the world into one line and exit code 1."""
    from flows.progress import Stopped

    try:
        yield
    except (Stopped, KeyboardInterrupt):
        errors.print(f"stopped. What is finished is kept: {way_on}")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except OSError as error:
        fail(
            f"{error.filename}: {error.strerror}: check the path and its permissions" if error.filename else str(error),
            error,
        )
    except Exception as error:
        # The modules that raise these take seconds to import; those that did raise are loaded.
        from flows.errors import EXPECTED

        if not isinstance(error, EXPECTED):
            raise
        fail(str(error), error)


def fail(reason: str, error: Exception | None = None) -> NoReturn:
    """Say what is wrong and end with exit code 1."""
    errors.print(f"[red]error[/red] {escape(reason)}", highlight=False, soft_wrap=True)
    raise typer.Exit(FATAL) from error


def main() -> None:
    """The `fervid` command."""
    app()

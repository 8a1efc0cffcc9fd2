"""The command line: every command under its name."""

import typer

from flows.cli.commands.analyze import analyze
from flows.cli.commands.compact import compact
from flows.cli.commands.compare import compare, evaluate
from flows.cli.commands.dashboard import dashboard
from flows.cli.commands.detectors import evaluate_detector
from flows.cli.commands.export import export
from flows.cli.commands.live import live
from flows.cli.commands.machine import demo, doctor
from flows.cli.commands.models import models_app
from flows.cli.commands.purge import purge
from flows.cli.commands.query import query
from flows.cli.commands.render import render
from flows.cli.commands.report import report
from flows.cli.commands.results import summary
from flows.cli.commands.schedule import schedule, schedule_training
from flows.cli.commands.timeline import timeline
from flows.cli.commands.train import train, train_detector
from flows.cli.commands.upkeep import gc, retry, status
from flows.cli.commands.watch import watch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn videos into emotion timelines that can be queried, looked at and trusted.",
    epilog="Exit codes: 0 all done, 1 fatal, 2 usage, 3 some videos failed, 130 stopped by Ctrl-C.",
)
for command in (
    analyze,
    live,
    schedule,
    watch,
    timeline,
    query,
    summary,
    export,
    render,
    report,
    purge,
    status,
    retry,
    gc,
    compact,
    dashboard,
    doctor,
    demo,
    train,
    schedule_training,
    evaluate,
    compare,
    train_detector,
    evaluate_detector,
):
    app.command()(command)
app.add_typer(models_app, name="models")


def main() -> None:
    """The `fervid` command."""
    app()

"""The report that compares emotion models: its tables, its plots and model cards, and its formats."""

import html
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import torch

from analytics.results.output_files import check_output_file
from fer_models.atomic_files import replaced_atomically
from fer_models.datasets.labeled_faces import TEST_SPLITS, FaceImages
from fer_models.device import choose_device
from fer_models.evaluation.comparison import BATCHES, Compared
from fer_models.evaluation.metrics import Figure, Figures, temperature_of
from fer_models.evaluation.plots import draw_confusion, draw_reliability, with_truth
from fer_models.evaluation.tables import Table, cell_in_unit
from fer_models.registry.model_registry import CARD_NAME, WeightsError, find_model
from flows.training.markdown import parts_of, table_lines, title_of, write_part

# Metrics in the report, with the headings of their columns: against the labels, and against the annotators' majority.
LABEL_COLUMNS = {
    "images": "images",
    "accuracy": "accuracy",
    "accuracy_not_in_training": "without images that are in Training",
    "accuracy_flip_averaged": "averaged over flips",
    "accuracy_crops_averaged": "averaged over ten crops",
    "macro_f1": "macro-F1",
    "ece_uncalibrated": "ECE without temperature",
    "ece": "ECE",
}
VOTE_COLUMNS = {
    "votes_images": "images",
    "votes_accuracy": "agreement",
    "votes_macro_f1": "macro-F1",
    "votes_ece_uncalibrated": "ECE without temperature",
    "votes_ece": "ECE",
}


class PublishedResult(NamedTuple):
    """The accuracy on PrivateTest that a project reports for its network."""

    network: str
    accuracy: str
    source: str


PUBLISHED_RESULTS = (
    PublishedResult("VGG19", "73.11 %", "README of github.com/WuJie1010/Facial-Expression-Recognition.Pytorch"),
    PublishedResult("VGG", "73.28 %", "README of github.com/usef-kh/fer, arXiv:2105.03588"),
    PublishedResult("ResMaskingNet", "74.14 %", "README of github.com/phamquiluan/ResidualMaskingNetwork"),
    PublishedResult("ResMaskingNet and six others, averaged", "76.82 %", "the same"),
)
TITLE = "Emotion models compared"
FER2013_TEST_IMAGES = 3589  # in each of the test splits of FER-2013


class Report(NamedTuple):
    """The contents of a report; `plots` and `cards` are (name, path) pairs."""

    tables: list[Table]
    conditions: str
    command: str
    plots: list[tuple[str, str]]
    cards: list[tuple[str, str]]
    notes: Sequence[str] = ()


class ReportFiles(NamedTuple):
    """The plots and model cards that belong to a report, in the folder beside it that has its name."""

    confusion: Path  # plots of the first model
    reliability: Path
    curves: dict[Path, Path]  # the plot of a model's training -> its copy
    cards: dict[Path, Path]  # the card of a model -> its copy

    @classmethod
    def of(cls, out: Path, models: Sequence[str]) -> "ReportFiles":
        """Name the files of the report `out`."""
        folder, of_models = out.with_suffix(""), [find_model(model) for model in models]
        first = of_models[0].name
        return cls(
            folder / f"{first}-confusion.png",
            folder / f"{first}-reliability.png",
            {
                curves: folder / f"{model.name}-curves.png"
                for model in of_models
                if (curves := model / "curves.png").is_file()
            },
            {model / CARD_NAME: folder / f"{model.name}.json" for model in of_models},
        )

    def all(self) -> list[Path]:
        """List all of them."""
        return [self.confusion, self.reliability, *self.curves.values(), *self.cards.values()]


def check_report(out: Path, models: Sequence[str], *, overwrite: bool) -> None:
    """Check that a report can be written to `out` without replacing anything else.

    The report is an HTML page if `out` ends in .html; otherwise it is a section of a Markdown file, whose other
    sections are kept. A section is always replaced, together with the plots and model cards that it links.

    Args:
        out: the file of the report.
        models: the models of the report.
        overwrite: whether an existing page, plots and model cards may be replaced.

    Raises:
        MarkdownError: if the Markdown file is not text.
        OutputError: if a file would be replaced, or written into a results folder.
        WeightsError: if there is no such model, or two have the same name.
    """
    check_unique_names([find_model(model).name for model in models])
    is_section = out.suffix == ".md"
    check_output_file(out, overwrite=overwrite or is_section)
    parts = parts_of(out) if is_section else []
    section = "".join(part for part in parts if title_of(part) == f"# {TITLE}")
    for path in ReportFiles.of(out, models).all():
        check_output_file(path, overwrite=overwrite or f"]({quote(_link(path))})" in section)


def check_unique_names(names: Sequence[str]) -> None:
    """Check that the models have different names, because their cards and plots are named after them.

    Raises:
        WeightsError: if two have the same name.
    """
    if repeated := [name for name in names if names.count(name) > 1]:
        raise WeightsError(
            f"{repeated[0]}: more than one model of this name: rename a folder to compare them in a report"
        )


def write_report(
    out: Path, models: Sequence[str], compared: Sequence[Compared], private: FaceImages, described: str, command: str
) -> None:
    """Write a report with its plots and model cards.

    Args:
        out: the file of the report, see `check_report`.
        models: the models of the report, of which the first one is plotted.
        compared: their metrics.
        private: the images of PrivateTest.
        described: see `conditions`.
        command: the command that makes the report.
    """
    files = ReportFiles.of(out, models)
    plots = draw_plots(files, compared[0], private)
    for card, copy in files.cards.items():
        shutil.copyfile(card, copy)
    cards = [(copy.stem, _link(copy)) for copy in files.cards.values()]
    notes = list(dict.fromkeys(note for one in compared for note in one.notes))
    report = Report(tables_of(compared), described, command, plots, cards, notes)
    if out.suffix == ".html":
        with replaced_atomically(out) as part_file:
            part_file.write_text(as_html(report), encoding="utf-8")
    else:
        write_part(out, as_markdown(report))


def draw_plots(files: ReportFiles, first: Compared, private: FaceImages) -> list[tuple[str, str]]:
    """Draw plots of the first model on PrivateTest and copy training curves; return (title, path) pairs."""
    name = first.card.name
    answers, truth, what = with_truth(first.card, private, first.scores["PrivateTest"])
    draw_confusion(answers, truth, files.confusion)
    draw_reliability(answers, truth, temperature_of(first.card), files.reliability)
    of = f"PrivateTest, against {what}"
    plots = [
        (f"{name}: confusion matrix, {of}", _link(files.confusion)),
        (f"{name}: reliability diagram, {of}", _link(files.reliability)),
    ]
    for curves, copy in files.curves.items():
        shutil.copyfile(curves, copy)
        plots.append((f"{curves.parent.name}: training curves", _link(copy)))
    return plots


def _link(path: Path) -> str:
    """The path of a plot or card, relative to the report."""
    return f"{path.parent.name}/{path.name}"


def tables_of(compared: Sequence[Compared]) -> list[Table]:
    """Create the tables of the report; metrics are shares of 1 unless they have a unit."""
    figures = compared[0].figures
    published = Table("Published results", PublishedResult._fields, [tuple(result) for result in PUBLISHED_RESULTS])
    return [
        *(figure_table(f"{split}, against the labels", compared, split, LABEL_COLUMNS) for split in TEST_SPLITS),
        *(
            figure_table(f"{split}, against the FER+ majority", compared, split, VOTE_COLUMNS)
            for split in TEST_SPLITS
            if "votes_accuracy" in figures[split]
        ),
        cost_table(compared),
        *([published] if is_fer2013(figures) else []),
    ]


def is_fer2013(figures: Mapping[str, Figures]) -> bool:
    """Whether both test splits have as many images as those of FER-2013, to which the published results refer."""
    return all(figures[split]["images"] == FER2013_TEST_IMAGES for split in TEST_SPLITS)


def figure_table(title: str, compared: Sequence[Compared], split: str, columns: dict[str, str]) -> Table:
    """Create a table with a row per model and a column per metric, with its interval if it has one."""
    rows = []
    for model in compared:
        figures = model.figures[split]
        rows.append((model.card.name, *(cell(figures, name) for name in columns)))
    return Table(title, ("model", *columns.values()), rows)


def cell(figures: Mapping[str, Figure], name: str) -> str:
    """Format a metric and its interval, such as `0.731 (0.717 to 0.745)`; a dash if it was not measured."""
    value, interval = figures.get(name), figures.get(f"{name}_interval")
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f} ({interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, list) else f"{value:.4f}"


def cost_table(compared: Sequence[Compared]) -> Table:
    """Create the table of size, compute and speed."""
    columns = (
        "model",
        "architecture",
        "parameters",
        "multiply-adds",
        "computed in",
        "images/s, batches of 1",
        "images/s, batches of 256",
    )
    rows = [
        (
            model.card.name,
            model.card.architecture,
            cell_in_unit(model.card.parameters, 1e6, "M", 2),
            cell_in_unit(model.multiply_adds, 1e6, "M", 1),
            model.precision,
            *(f"{model.images_per_s[batch]:.0f}" if batch in model.images_per_s else "-" for batch in BATCHES),
            cell_in_unit(model.card.training_s, 60, "min", 0),
        )
        for model in compared
    ]
    return Table("Cost", (*columns, "training"), rows)


def conditions(data: Path, device: str, *, with_speed: bool, with_published: bool) -> str:
    """Describe data, machine and versions of the measurement."""
    chosen = choose_device(device)
    where = torch.cuda.get_device_name() if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    machine = f"{chosen.type} ({where}, {os.cpu_count()} cores, {platform.machine()})"
    speed = f"speed on {machine}, the models in turns" if with_speed else "speed was not measured"
    published = " Published results are as their authors report them; how these chose the epoch was not checked."
    return (
        f"Measured on {data.name} with {versions}; {speed}. In parentheses: 95 % Wilson score intervals. ECE: expected "
        "calibration error over 15 bins. Model cards state how epoch and temperature were chosen."
        f"{published if with_published else ''}"
    )


def as_markdown(report: Report) -> str:
    """Format the report as a section of a Markdown file."""
    lines = [f"# {TITLE}", "", report.conditions, "", f"Made by `{report.command}`.", ""]
    lines += ["On the images:", "", *(f"- {note}" for note in report.notes), ""] if report.notes else []
    for table in report.tables:
        lines += table_lines(table)
    lines += ["## Model cards and plots", ""]
    lines += ["The models' cards: " + ", ".join(f"[{name}]({quote(path)})" for name, path in report.cards) + ".", ""]
    return "\n".join(lines + [f"![{title}]({quote(path)})" for title, path in report.plots])


def as_html(report: Report) -> str:
    """Format the report as an HTML page."""
    style = "body{font-family:sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:4px}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{TITLE}</title><style>{style}</style>",
        f"<h1>{TITLE}</h1><p>{html.escape(report.conditions)}</p>",
        f"<p>Made by <code>{html.escape(report.command)}</code>.</p>",
    ]
    if report.notes:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes)
        parts.append(f"<p>On the images:</p><ul>{items}</ul>")
    for table in report.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2><table>")
        for row, tag in [(table.columns, "th"), *((row, "td") for row in table.rows)]:
            parts.append("<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row) + "</tr>")
        parts.append("</table>")
    cards = [f"<a href='{quote(path)}'>{html.escape(name)}</a>" for name, path in report.cards]
    parts.append(f"<h2>Model cards and plots</h2><p>The models' cards: {', '.join(cards)}.</p>")
    parts += [f"<p><img src='{quote(path)}' alt='{html.escape(title)}'></p>" for title, path in report.plots]
    return "\n".join(parts) + "</html>\n"

"""Evaluation of emotion models, and the comparison report with the command that reproduces it."""

import html
import logging
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fer_models.classification.loading import load_classifier
from fer_models.datasets.labeled_faces import DataError, FaceData, FaceImages
from fer_models.datasets.reading import read_data
from fer_models.device import choose_device
from fer_models.evaluation.comparison import Compared, compare
from fer_models.evaluation.metrics import measure_split
from fer_models.evaluation.plots import draw_confusion, draw_reliability, with_truth
from fer_models.registry.model_registry import CARD_NAME, WeightsError, find_model
from flows.training.markdown import parts_of, table_lines, write_part


class Claim(NamedTuple):
    """A published result for a network of the same kind."""

    network: str
    accuracy: str
    remark: str


# As public FER-2013 projects report them.
CLAIMS = (
    Claim("cnn4", "about 90 %", "its own log says 63.3 %"),
    Claim("cnn_wide", "60.87 %", ""),
    Claim("cnn_wide, with augmentation", "55.84 %", ""),
    Claim("resnet50_transfer", "60.0 %", ""),
    Claim("efficientnet_b0_transfer", "98 %", "on 27 validation images"),
    Claim("VGG, 4.7 M parameters, from scratch", "72.6 %", "selected on PrivateTest"),
    Claim("VGG-19", "73.1 %", "the best epoch on the test set"),
    Claim("ResMaskingNet, 143 M parameters", "74.1 %", "from ImageNet weights"),
)
log = logging.getLogger(__name__)
TITLE = "Emotion models compared"
SPLITS = ("PublicTest", "PrivateTest")


class Table(NamedTuple):
    """A table of the report."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Report(NamedTuple):
    """The contents of a report; `pictures` and `cards` are (name, path) pairs."""

    tables: list[Table]
    conditions: str
    command: str
    pictures: list[tuple[str, str]]
    cards: list[tuple[str, str]]


def evaluate_model(model: str, data: Path, splits: Sequence[str], *, tta: bool, device: str) -> dict[str, Any]:
    """Every figure of a model on some splits of a data set: split -> figure -> value; without any, on its test splits.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not there.
        WeightsError: if there is no such model, or it is damaged.
    """
    classifier = load_classifier(model, device)
    read = {
        split: images for split, images in log_notes(read_data(data, need_training=False)).splits.items() if len(images)
    }
    if absent := [split for split in splits if split not in read]:
        raise DataError(f"{data}: there is no {absent[0]}, but {', '.join(read)}")
    return {
        split: measure_split(
            classifier.predict,
            read[split],
            temperature=classifier.card.temperature,
            tta=tta,
            training=None if split == "Training" else read.get("Training"),
        )[0]
        for split in splits or [split for split in SPLITS if split in read]
    }


def log_notes(data: FaceData) -> FaceData:
    """Log the notes of the data; return the data."""
    for note in data.notes:
        log.warning("%s: %s", data.path.name, note)
    return data


def check_apart(names: Sequence[str]) -> None:
    """Check that the models have different names, which name their cards and plots.

    Raises:
        WeightsError: if two have the same.
    """
    if twice := [name for name in names if names.count(name) > 1]:
        raise WeightsError(f"{twice[0]}: more than one model of this name: rename a folder to compare them in a report")


def compare_models(models: Sequence[str], data: Path, device: str, out: Path | None, command: str) -> list[Compared]:
    """Every figure of several models on both test splits of a data set, and their speed here; with a report in `out`.

    The report is a page if `out` ends in .html, else a part of a Markdown file, whose other parts stay. Pictures and
    the models' cards lie beside it in a folder of its name.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not there.
        MarkdownError, OSError: if the report cannot be written there.
        WeightsError: if there is no such model, one is damaged, or a report would mix two up.
    """
    classifiers = [load_classifier(model, device) for model in models]
    if out is not None:  # fail before the evaluation, not after it
        check_apart([find_model(model).name for model in models])
        out.with_suffix("").mkdir(parents=True, exist_ok=True)
        if out.suffix == ".md":
            parts_of(out)
    splits = log_notes(read_data(data)).splits
    compared = compare(classifiers, splits)
    if out is not None:
        pictures = draw_pictures(out, models, compared[0], splits["PrivateTest"])
        report = Report(tables_of(compared), conditions(data, device), command, pictures, copy_cards(out, models))
        if out.suffix == ".html":
            out.write_text(as_html(report), encoding="utf-8")
        else:
            write_part(out, as_markdown(report))
    return compared


def draw_pictures(out: Path, models: Sequence[str], first: Compared, private: FaceImages) -> list[tuple[str, str]]:
    """Draw plots of the first model on PrivateTest and copy training curves; return (title, path) pairs."""
    folder = out.with_suffix("")
    name = first.card.name
    answers, truth, what = with_truth(first.card, private, first.scores["PrivateTest"])
    draw_confusion(answers, truth, folder / f"{name}-confusion.png")
    draw_reliability(answers, truth, first.card.temperature, folder / f"{name}-reliability.png")
    of = f"PrivateTest, against {what}"
    pictures = [
        (f"{name}: what is read as what, {of}", f"{name}-confusion.png"),
        (f"{name}: how often it is right against how sure it is, {of}", f"{name}-reliability.png"),
    ]
    for model in models:
        curves = find_model(model) / "curves.png"
        if curves.is_file():
            place = f"{curves.parent.name}-curves.png"
            shutil.copyfile(curves, folder / place)
            pictures.append((f"{curves.parent.name}: training", place))
    return [(title, f"{folder.name}/{place}") for title, place in pictures]


def copy_cards(out: Path, models: Sequence[str]) -> list[tuple[str, str]]:
    """Copy the models' cards next to the report; return (name, path) pairs."""
    folders = [find_model(model) for model in models]
    places = {folder.name: f"{out.stem}/{folder.name}.json" for folder in folders}
    for folder in folders:
        shutil.copyfile(folder / CARD_NAME, out.parent / places[folder.name])
    return list(places.items())


def tables_of(compared: Sequence[Compared]) -> list[Table]:
    """The tables of the report; figures are shares of 1 unless they say otherwise."""
    return [
        *(accuracy_table(compared, split) for split in SPLITS),
        *(votes_table(compared, split) for split in SPLITS if "votes_accuracy" in compared[0].figures[split]),
        cost_table(compared),
        Table("Published figures of others", ("network", "accuracy", "remark"), [tuple(claim) for claim in CLAIMS]),
    ]


def accuracy_table(compared: Sequence[Compared], split: str) -> Table:
    """Metrics of a split against its labels."""
    columns = {
        "accuracy": "accuracy",
        "accuracy_not_in_training": "without pictures that also stand in Training",
        "accuracy_flip_averaged": "flip averaged",
        "accuracy_crops_averaged": "ten crops averaged",
        "macro_f1": "macro-F1",
        "ece_uncalibrated": "ECE before temperature",
        "ece": "ECE after",
    }
    return figure_table(f"{split}, against the labels", compared, split, columns)


def votes_table(compared: Sequence[Compared], split: str) -> Table:
    """Metrics of a split against the annotators' majority."""
    columns = {
        "votes_images": "pictures",
        "votes_accuracy": "agreement",
        "votes_macro_f1": "macro-F1",
        "votes_ece_uncalibrated": "ECE before temperature",
        "votes_ece": "ECE after",
    }
    return figure_table(f"{split}, against the FER+ majority", compared, split, columns)


def figure_table(title: str, compared: Sequence[Compared], split: str, columns: dict[str, str]) -> Table:
    """A row for each model, a column for each figure, with its interval where it has one."""
    rows = []
    for one in compared:
        figures = one.figures[split]
        rows.append((one.card.name, *(cell(figures, name) for name in columns)))
    return Table(title, ("model", *columns.values()), rows)


def cell(figures: dict[str, Any], name: str) -> str:
    """One figure and its interval, such as `0.731 (0.717 to 0.745)`; a dash if it was not measured."""
    value, interval = figures.get(name), figures.get(f"{name}_interval")
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if interval is None else f"{value:.4f} ({interval[0]:.3f} to {interval[1]:.3f})"


def cost_table(compared: Sequence[Compared]) -> Table:
    """Size, compute and speed of each model."""
    columns = ("model", "architecture", "parameters", "multiply-adds", "images/s, one at once", "images/s, 256 at once")
    rows = [
        (
            one.card.name,
            one.card.architecture,
            f"{one.card.parameters / 1e6:.2f} M",
            f"{one.multiply_adds / 1e6:.1f} M",
            *(f"{rate:.0f}" for rate in one.images_per_s.values()),
            f"{one.card.training_s / 60:.0f} min",
        )
        for one in compared
    ]
    return Table("Cost", (*columns, "training"), rows)


def conditions(data: Path, device: str) -> str:
    """Data, machine and versions of the measurement."""
    chosen = choose_device(device)
    where = torch.cuda.get_device_name() if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return (
        f"Measured on {data.name}; speed on {chosen.type} ({where}, {os.cpu_count()} cores, {platform.machine()}), "
        f"{versions}, the models in turns. In brackets: 95 % intervals, bootstrap. ECE: expected calibration error "
        "over 15 bins. What a model was chosen by stands on its card; some of the published figures chose by "
        "PrivateTest."
    )


def as_markdown(report: Report) -> str:
    """Format the report as a section of a Markdown file."""
    lines = [f"# {TITLE}", "", report.conditions, "", f"Made by `{report.command}`.", ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *table_lines(table.columns, table.rows), ""]
    lines += ["## Cards and pictures", ""]
    lines += ["The models' cards: " + ", ".join(f"[{name}]({place})" for name, place in report.cards) + ".", ""]
    return "\n".join(lines + [f"![{title}]({place})" for title, place in report.pictures])


def as_html(report: Report) -> str:
    """Format the report as an HTML page."""
    style = "body{font-family:sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:4px}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{TITLE}</title><style>{style}</style>",
        f"<h1>{TITLE}</h1><p>{html.escape(report.conditions)}</p>",
        f"<p>Made by <code>{html.escape(report.command)}</code>.</p>",
    ]
    for table in report.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2><table>")
        for row, tag in [(table.columns, "th"), *((row, "td") for row in table.rows)]:
            parts.append("<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row) + "</tr>")
        parts.append("</table>")
    cards = [f"<a href='{html.escape(place)}'>{html.escape(name)}</a>" for name, place in report.cards]
    parts.append(f"<h2>Cards and pictures</h2><p>The models' cards: {', '.join(cards)}.</p>")
    parts += [f"<p><img src='{html.escape(place)}' alt='{html.escape(title)}'></p>" for title, place in report.pictures]
    return "\n".join(parts) + "</html>\n"

"""Evaluation of emotion models, and the comparison report."""

import dataclasses
import html
import logging
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import torch

from fer_models.atomic_files import replaced_atomically
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.loading import load_classifier
from fer_models.datasets.labeled_faces import DataError, FaceData, FaceImages
from fer_models.datasets.reading import read_data
from fer_models.device import choose_device
from fer_models.evaluation.comparison import BATCHES, Compared, compare
from fer_models.evaluation.metrics import Figure, Figures, measure_split, temperature_of
from fer_models.evaluation.plots import draw_confusion, draw_reliability, with_truth
from fer_models.registry.model_registry import CARD_NAME, WeightsError, find_model
from flows.training.markdown import parts_of, table_lines, write_part


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
log = logging.getLogger(__name__)
TITLE = "Emotion models compared"
SPLITS = ("PublicTest", "PrivateTest")
FER2013_TEST_IMAGES = 3589  # in each of the test splits of FER-2013


class Table(NamedTuple):
    """A table of the report."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Report(NamedTuple):
    """The contents of a report; `plots` and `cards` are (name, path) pairs."""

    tables: list[Table]
    conditions: str
    command: str
    plots: list[tuple[str, str]]
    cards: list[tuple[str, str]]


def evaluate_model(model: str, data: Path, splits: Sequence[str], *, tta: bool, device: str) -> dict[str, Figures]:
    """Evaluate a model on some splits of a data set, or on its test splits: split -> metric -> value.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        WeightsError: if there is no such model, or it is damaged.
    """
    classifier = load_classifier(model, device)
    read = {
        split: images for split, images in log_notes(read_data(data, need_training=False)).splits.items() if len(images)
    }
    if absent := [split for split in splits if split not in read]:
        raise DataError(f"{data}: no {absent[0]} split; it has {', '.join(read)}")
    return {
        split: measure_split(
            classifier.predict,
            read[split],
            temperature=temperature_of(classifier.card),
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


def load_named(model: str, device: str) -> EmotionClassifier:
    """Load a model under the name of its folder: copies of a folder have cards of the same name."""
    classifier = load_classifier(model, device)
    classifier.card = dataclasses.replace(classifier.card, name=find_model(model).name)
    return classifier


def check_unique_names(names: Sequence[str]) -> None:
    """Check that the models have different names, because their cards and plots are named after them.

    Raises:
        WeightsError: if two have the same name.
    """
    if repeated := [name for name in names if names.count(name) > 1]:
        raise WeightsError(
            f"{repeated[0]}: more than one model of this name: rename a folder to compare them in a report"
        )


def compare_models(
    models: Sequence[str], data: Path, device: str, out: Path | None, command: str, *, with_speed: bool = True
) -> list[Compared]:
    """Evaluate several models on both test splits of a data set, measure their speed, and write a report to `out`.

    The report is an HTML page if `out` ends in .html; otherwise it is a section of a Markdown file, whose other
    sections are kept. Plots and model cards are written to a folder beside it, with its name.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        MarkdownError, OSError: if the report cannot be written there.
        WeightsError: if there is no such model, one is damaged, or two have the same name.
    """
    classifiers = [load_named(model, device) for model in models]
    if out is not None:  # fail before the evaluation, not after it
        check_unique_names([find_model(model).name for model in models])
        out.with_suffix("").mkdir(parents=True, exist_ok=True)
        if out.suffix == ".md":
            parts_of(out)
    splits = log_notes(read_data(data)).splits
    compared = compare(classifiers, splits, with_speed=with_speed)
    if out is not None:
        plots = draw_plots(out, models, compared[0], splits["PrivateTest"])
        described = conditions(data, device, with_speed=with_speed, with_published=is_fer2013(compared[0].figures))
        report = Report(tables_of(compared), described, command, plots, copy_cards(out, models))
        if out.suffix == ".html":
            with replaced_atomically(out) as part_file:
                part_file.write_text(as_html(report), encoding="utf-8")
        else:
            write_part(out, as_markdown(report))
    return compared


def draw_plots(out: Path, models: Sequence[str], first: Compared, private: FaceImages) -> list[tuple[str, str]]:
    """Draw plots of the first model on PrivateTest and copy training curves; return (title, path) pairs."""
    folder = out.with_suffix("")
    name = first.card.name
    answers, truth, what = with_truth(first.card, private, first.scores["PrivateTest"])
    draw_confusion(answers, truth, folder / f"{name}-confusion.png")
    draw_reliability(answers, truth, temperature_of(first.card), folder / f"{name}-reliability.png")
    of = f"PrivateTest, against {what}"
    plots = [
        (f"{name}: confusion matrix, {of}", f"{name}-confusion.png"),
        (f"{name}: reliability diagram, {of}", f"{name}-reliability.png"),
    ]
    for model in models:
        curves = find_model(model) / "curves.png"
        if curves.is_file():
            file_name = f"{curves.parent.name}-curves.png"
            shutil.copyfile(curves, folder / file_name)
            plots.append((f"{curves.parent.name}: training curves", file_name))
    return [(title, f"{folder.name}/{file_name}") for title, file_name in plots]


def copy_cards(out: Path, models: Sequence[str]) -> list[tuple[str, str]]:
    """Copy the models' cards next to the report; return (name, path) pairs."""
    folders = [find_model(model) for model in models]
    paths = {folder.name: f"{out.stem}/{folder.name}.json" for folder in folders}
    for folder in folders:
        shutil.copyfile(folder / CARD_NAME, out.parent / paths[folder.name])
    return list(paths.items())


def tables_of(compared: Sequence[Compared]) -> list[Table]:
    """Create the tables of the report; metrics are shares of 1 unless they have a unit."""
    figures = compared[0].figures
    published = Table("Published results", PublishedResult._fields, [tuple(result) for result in PUBLISHED_RESULTS])
    return [
        *(accuracy_table(compared, split) for split in SPLITS),
        *(votes_table(compared, split) for split in SPLITS if "votes_accuracy" in figures[split]),
        cost_table(compared),
        *([published] if is_fer2013(figures) else []),
    ]


def is_fer2013(figures: Mapping[str, Figures]) -> bool:
    """Whether both test splits have as many images as those of FER-2013, to which the published results refer."""
    return all(figures[split]["images"] == FER2013_TEST_IMAGES for split in SPLITS)


def accuracy_table(compared: Sequence[Compared], split: str) -> Table:
    """Create the table of the metrics of a split against its labels."""
    columns = {
        "images": "images",
        "accuracy": "accuracy",
        "accuracy_not_in_training": "without images that are in Training",
        "accuracy_flip_averaged": "averaged over flips",
        "accuracy_crops_averaged": "averaged over ten crops",
        "macro_f1": "macro-F1",
        "ece_uncalibrated": "ECE without temperature",
        "ece": "ECE",
    }
    return figure_table(f"{split}, against the labels", compared, split, columns)


def votes_table(compared: Sequence[Compared], split: str) -> Table:
    """Create the table of the metrics of a split against the annotators' majority."""
    columns = {
        "votes_images": "images",
        "votes_accuracy": "agreement",
        "votes_macro_f1": "macro-F1",
        "votes_ece_uncalibrated": "ECE without temperature",
        "votes_ece": "ECE",
    }
    return figure_table(f"{split}, against the FER+ majority", compared, split, columns)


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
            f"{model.card.parameters / 1e6:.2f} M",
            "unknown" if model.multiply_adds is None else f"{model.multiply_adds / 1e6:.1f} M",
            model.precision,
            *(f"{model.images_per_s[batch]:.0f}" if batch in model.images_per_s else "-" for batch in BATCHES),
            f"{model.card.training_s / 60:.0f} min",
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
        f"Measured on {data.name} with {versions}; {speed}. In parentheses: 95 % bootstrap intervals. ECE: expected "
        "calibration error over 15 bins. Model cards state how epoch and temperature were chosen."
        f"{published if with_published else ''}"
    )


def as_markdown(report: Report) -> str:
    """Format the report as a section of a Markdown file."""
    lines = [f"# {TITLE}", "", report.conditions, "", f"Made by `{report.command}`.", ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *table_lines(table.columns, table.rows), ""]
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
    for table in report.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2><table>")
        for row, tag in [(table.columns, "th"), *((row, "td") for row in table.rows)]:
            parts.append("<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row) + "</tr>")
        parts.append("</table>")
    cards = [f"<a href='{quote(path)}'>{html.escape(name)}</a>" for name, path in report.cards]
    parts.append(f"<h2>Model cards and plots</h2><p>The models' cards: {', '.join(cards)}.</p>")
    parts += [f"<p><img src='{quote(path)}' alt='{html.escape(title)}'></p>" for title, path in report.plots]
    return "\n".join(parts) + "</html>\n"

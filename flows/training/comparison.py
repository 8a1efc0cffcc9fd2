"""Evaluation of emotion models, alone and in comparison."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.loading import load_classifier
from fer_models.datasets.labeled_faces import TEST_SPLITS, DataError, FaceData
from fer_models.datasets.reading import read_data
from fer_models.evaluation.comparison import Compared, compare, input_notes
from fer_models.evaluation.metrics import Figures, measure_split, temperature_of
from fer_models.registry.model_registry import find_model
from flows.training.comparison_report import check_report, conditions, is_fer2013, write_report

log = logging.getLogger(__name__)


class Evaluated(NamedTuple):
    """The metrics of a model."""

    figures: dict[str, Figures]  # split -> metric -> value
    notes: list[str]  # on the images that the model saw


def evaluate_model(model: str, data: Path, splits: Sequence[str], *, tta: bool, device: str) -> Evaluated:
    """Evaluate a model on some splits of a data set, or on its test splits.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        WeightsError: if there is no such model, or it is damaged.
    """
    classifier = load_classifier(model, device)
    faces = read_data(data, need_training=False)
    notes = log_notes(faces, [classifier])
    read = {split: images for split, images in faces.splits.items() if len(images)}
    if absent := [split for split in splits if split not in read]:
        raise DataError(f"{data}: no {absent[0]} split; it has {', '.join(read)}")
    figures = {
        split: measure_split(
            classifier.predict,
            read[split],
            temperature=temperature_of(classifier.card),
            tta=tta,
            training=None if split == "Training" else read.get("Training"),
        )[0]
        for split in splits or [split for split in TEST_SPLITS if split in read]
    }
    return Evaluated(figures, notes)


def log_notes(data: FaceData, classifiers: Sequence[EmotionClassifier]) -> list[str]:
    """Log and return the notes on the data and on what the models see of it."""
    notes = [*data.notes, *(note for classifier in classifiers for note in input_notes(classifier, data))]
    for note in notes:
        log.warning("%s: %s", data.path.name, note)
    return notes


def load_named(model: str, device: str) -> EmotionClassifier:
    """Load a model under the name of its folder: copies of a folder have cards of the same name."""
    classifier = load_classifier(model, device)
    classifier.card = dataclasses.replace(classifier.card, name=find_model(model).name)
    return classifier


def compare_models(
    models: Sequence[str],
    data: Path,
    device: str,
    out: Path | None,
    command: str,
    *,
    with_speed: bool = True,
    overwrite: bool = False,
) -> list[Compared]:
    """Evaluate several models on both test splits of a data set, measure their speed, and write a report to `out`.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        MarkdownError, OutputError, OSError: if the report cannot be written there, see `check_report`.
        WeightsError: if there is no such model, one is damaged, or two have the same name.
    """
    if out is not None:  # fail before the evaluation, not after it
        check_report(out, models, overwrite=overwrite)
    classifiers = [load_named(model, device) for model in models]
    faces = read_data(data)
    log_notes(faces, classifiers)
    if out is not None:
        out.with_suffix("").mkdir(parents=True, exist_ok=True)
    compared = compare(classifiers, faces, with_speed=with_speed)
    if out is not None:
        described = conditions(data, device, with_speed=with_speed, with_published=is_fer2013(compared[0].figures))
        write_report(out, models, compared, faces.splits["PrivateTest"], described, command)
    return compared

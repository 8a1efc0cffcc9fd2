"""Predictions of a new emotion model for the photographs of the demo, to show that it works."""

import numpy as np

from fer_models.classification.loading import load_classifier
from fer_models.detection import load_detector
from fer_models.frame_batch import FrameBatch
from fer_models.labels import EMOTIONS
from fer_models.observation import Observation
from fer_models.observe import observe_frames
from flows.cli.demo import DemoError, load_photographs

FACES = ("hopper", "collins")  # names of the photographs with a face; both people smile
HEADINGS = ("", *EMOTIONS, "other", "valence", "arousal")


def preview_rows(model: str) -> list[list[str | float | None]]:
    """Return a row per face: its photograph, the seven probabilities, and further outputs of the model.

    If the photographs are not available, return a row for a gray image.

    Raises:
        WeightsError: if the model cannot be loaded.
    """
    classifier = load_classifier(model, "cpu")
    try:
        photographs = load_photographs()
    except DemoError:
        outputs = classifier.predict_all(np.full((1, classifier.input_px, classifier.input_px, 3), 127, np.uint8))
        return [_row("a gray image", outputs[0])]
    detector = load_detector("compact", "cpu")
    rows = []
    for name in FACES:
        pixels = np.array(photographs[name])[None]
        frame = FrameBatch(pixels, np.zeros(1, np.int64), np.zeros(1))
        observation = observe_frames(frame, detector=detector, classifier=classifier)
        rows += [_row(f"photograph {name}", outputs) for outputs in _outputs(observation)[:1]]
    return rows


def _outputs(observation: Observation) -> np.ndarray:
    return np.concatenate([observation.probabilities, observation.further], axis=1)


def _row(name: str, outputs: np.ndarray) -> list[str | float | None]:
    return [name, *(None if np.isnan(value) else round(float(value), 3) for value in outputs)]

"""Face detection: one protocol, a table of its implementations, and `load_detector`."""

from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.detection.protocol import DetectorLoader
from fer_models.detection.protocol import FaceDetector as FaceDetector

if TYPE_CHECKING:
    import torch


def _load_compact(folder: Path, *, device: "torch.device") -> FaceDetector:
    from fer_models.detection.compact import CompactDetector  # imported here because the module loads torch

    return CompactDetector.load(folder, device=device)


def _load_retinaface(folder: Path, *, device: "torch.device") -> FaceDetector:
    from fer_models.detection.retinaface import RetinaFaceDetector  # imported here because the module loads torch

    return RetinaFaceDetector.load(folder, device=device)


# Maps the architecture on a detector's card to the function that loads it.
DETECTORS: dict[str, DetectorLoader] = {"compact": _load_compact, "retinaface": _load_retinaface}


def load_detector(name: str = "compact", device: str = "auto", max_side_px: int | None = None) -> FaceDetector:
    """Load a face detector.

    Args:
        name: a name from `fervid models`, or a model folder.
        device: "auto", "cpu" or "cuda".
        max_side_px: larger frames are shrunk so that their long side is this; the detector's own default if None.

    Raises:
        WeightsError: if there is no such detector, it is damaged, or its package is not installed.
        DeviceError: if the device is not available.
    """
    from fer_models.device import choose_device  # imported here because the module loads torch
    from fer_models.registry.model_registry import WeightsError, read_card

    folder = find_detector(name)
    architecture = read_card(folder).architecture
    if architecture not in DETECTORS:
        raise WeightsError(f"{folder}: unknown architecture {architecture!r}. Known: {', '.join(DETECTORS)}")
    detector = DETECTORS[architecture](folder, device=choose_device(device))
    if max_side_px is not None:
        detector.max_side_px = max_side_px
    return detector


def find_detector(name: str) -> Path:
    """Return the folder of a face detector, given its name or its folder.

    Raises:
        WeightsError: if there is no such detector.
    """
    from fer_models.extras import install_command
    from fer_models.registry.model_registry import WeightsError, find_model, list_model_dirs

    if name == "retinaface" and name not in list_model_dirs():
        from fer_models.detection.retinaface_network import is_package_installed  # imported here: it loads torch

        package = "" if is_package_installed() else f". Its package is missing, too. Run: {install_command(name)}"
        raise WeightsError(
            "retinaface: its weights are not installed. `fervid models fetch retinaface` downloads them, "
            f"`fervid models add retinaface FILE` installs them from a file{package}"
        )
    return find_model(name, "detector")

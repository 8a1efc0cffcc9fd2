"""The flow that trains a compact face detector."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from fer_models.registry.model_registry import user_model_dir
from fer_models.training.detector.recipe import DetectorRecipe
from fer_models.training.detector.training import train_detector as train
from fer_models.training.runs import train_alone
from flows.analysis.progress import progress
from flows.training.model_summary import publish_summary

DEFAULT_RECIPE = DetectorRecipe()


@task(name="train and register", task_run_name="train {name}", cache_policy=NO_CACHE, persist_result=False)
def train_and_register(data: Path, name: str, recipe: DetectorRecipe, device: str, resume: bool) -> Path:
    """Train a detector into the user's models."""
    folder = user_model_dir(name)
    return train(data, folder, recipe, name=name, device=device, resume=resume, on_batch=progress.check)


@flow(name="train detector", flow_run_name="train detector {name}", persist_result=False)
def train_detector(
    data: Path,
    name: str,
    recipe: DetectorRecipe = DEFAULT_RECIPE,
    device: str = "auto",
    resume: bool = False,
) -> Path:
    """Train on photographs with labeled faces; choose the score threshold on held-out photographs.

    Raises:
        FaceDataError: if the data cannot be used.
        RunError: if a training of that name runs or cannot be resumed.
        DeviceError: if the device is not available.
        WeightsError: if the name is not a valid model name, or a teacher or the initial detector cannot be used.
        ReferenceDetectorError: if OpenCV is not installed, which the teachers need.
    """
    with train_alone(user_model_dir(name)):
        folder = train_and_register(data, name, recipe, device, resume)
    publish_summary(folder, "train-detector")
    return folder

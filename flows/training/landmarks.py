"""The flow that trains a landmark network."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from fer_models.registry.model_registry import user_model_dir
from fer_models.training.landmarks.training import LandmarkRecipe
from fer_models.training.landmarks.training import train_landmarks as train
from fer_models.training.runs import train_alone
from flows.analysis.progress import progress
from flows.training.model_summary import publish_summary


@task(name="train and register", task_run_name="train {name}", cache_policy=NO_CACHE, persist_result=False)
def train_and_register(
    data: list[tuple[Path, Path]], name: str, recipe: LandmarkRecipe, device: str, resume: bool
) -> Path:
    """Train a landmark network into the user's models."""
    return train(data, user_model_dir(name), recipe, name=name, device=device, resume=resume, on_batch=progress.check)


@flow(name="train landmarks", flow_run_name="train landmarks {name}", persist_result=False)
def train_landmarks(
    data: list[tuple[Path, Path]], name: str, recipe: LandmarkRecipe, device: str = "auto", resume: bool = False
) -> Path:
    """Train on face crops with a teacher's landmarks.

    Raises:
        DataError: if the data cannot be used.
        RunError: if a training of that name runs or cannot be resumed.
        DeviceError: if the device is not available.
        WeightsError: if the name is not a valid model name.
    """
    with train_alone(user_model_dir(name)):
        folder = train_and_register(data, name, recipe, device, resume)
    publish_summary(folder, "train-landmarks")
    return folder

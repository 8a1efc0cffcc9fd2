"""Scheduled training: a new model whenever the data or the recipe have changed."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from fer_models.datasets.labeled_faces import FaceImages, fingerprint
from fer_models.registry.model_registry import list_model_dirs
from fer_models.training.emotion.recipes import Recipe
from flows.training.emotion import load_and_check, load_splits, train


def version_name(name: str, splits: dict[str, FaceImages], recipe: Recipe) -> str:
    """Name a model by its data and recipe: `NAME-` and 8 hexadecimal digits of their hash."""
    told = json.dumps([{split: fingerprint(images) for split, images in splits.items()}, dataclasses.asdict(recipe)])
    digest = hashlib.sha256(told.encode())
    for images in splits.values():
        digest.update(b"" if images.votes is None else images.votes.numpy().tobytes())
    return f"{name}-{digest.hexdigest()[:8]}"


@flow(name="retrain", flow_run_name="retrain {name}", persist_result=False)
def retrain(
    data: Path,
    name: str,
    recipe: Recipe,
    drop: tuple[str, ...] = (),
    device: str = "auto",
    precision: str = "auto",
) -> State[Any]:
    """Train one model for each version of the data and the recipe; existing versions are skipped.

    Models in use never change: each new one is called `NAME-…` after a hash of its data and recipe. An interrupted
    training is resumed.

    Raises:
        DataError, DeviceError, RunError: as `train` does.
    """
    load_and_check.cache_clear()  # the data may have changed since this process read them last
    version = version_name(name, load_splits(data, drop), recipe)
    if version in list_model_dirs():
        told = f"{data} and the recipe are as they were when {version} was trained: nothing to do"
    else:
        train(data, version, recipe, drop, device, precision, resume=True)
        told = f"trained {version} on {data}"
    create_markdown_artifact(told, key="retrain-summary", description="Whether there was anything to learn")
    return Completed(message=told)

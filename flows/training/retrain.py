"""Scheduled training: a new model whenever the data or the recipe has changed."""

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
from flows.training.emotion import load_and_check, train


def version_name(name: str, splits: dict[str, FaceImages], recipe: Recipe) -> str:
    """Name a model by its data and recipe: `NAME-` and 8 hexadecimal digits of their hash."""
    content = json.dumps([{split: fingerprint(images) for split, images in splits.items()}, dataclasses.asdict(recipe)])
    digest = hashlib.sha256(content.encode())
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
    """Train a model unless there is one for this version of the data and the recipe.

    Existing models never change: each new one is named `NAME-` and a hash of its data and recipe. An interrupted
    training is resumed.

    Raises:
        DataError, DeviceError, RunError: as `train` does.
    """
    load_and_check.cache_clear()  # the data may have changed since this process last loaded them
    version = version_name(name, load_and_check(data, drop)[0].splits, recipe)
    if version in list_model_dirs():
        outcome = f"nothing to do: {data} and the recipe have not changed since {version} was trained"
    else:
        train(data, version, recipe, drop, device, precision, resume=True)
        outcome = f"trained {version} on {data}"
    create_markdown_artifact(outcome, key="retrain-summary", description="Outcome of the scheduled training")
    return Completed(message=outcome)

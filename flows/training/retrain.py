"""Scheduled training: a new model whenever the data, the recipe, or a model that it names has changed."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from fer_models.datasets.labeled_faces import FaceImages, fingerprint, votes_fingerprint
from fer_models.registry.model_registry import NO_MODEL, find_model, list_model_dirs, read_card, sha256_of
from fer_models.training.emotion.recipes import Recipe
from flows.training.emotion import load_and_check, train


def version_name(name: str, splits: dict[str, FaceImages], recipe: Recipe) -> str:
    """Name a model by all that it is made of: `NAME-` and 8 hexadecimal digits of a hash.

    The hash covers the images and votes, the recipe, the weights of the models that it names, and its unlabeled faces.

    Raises:
        OSError: if the file of unlabeled faces cannot be read.
        WeightsError: if there is no model of a name.
    """
    models = {recipe.init, recipe.init_labels, recipe.teacher_labels, recipe.teacher_votes} - {"", *NO_MODEL}
    content = (
        {split: fingerprint(images) for split, images in splits.items()},
        votes_fingerprint(*splits.values()),
        dataclasses.asdict(recipe),
        {model: read_card(find_model(model)).sha256 for model in sorted(models)},
        sha256_of(Path(recipe.unlabeled)) if recipe.unlabeled else "",
    )
    return f"{name}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]}"


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

    Existing models never change: each new one is named by `version_name`. An interrupted training is resumed.

    Raises:
        As `version_name` and `train`.
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

"""Training an emotion model, as a flow of its own."""

import dataclasses
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fer_models.classification.recipes import Recipe
from fer_models.classification.training import train_classifier
from fer_models.weights import read_card, user_models_dir


@task(name="train and register", task_run_name="train {name}", cache_policy=NO_CACHE, persist_result=False)
def train_and_register(data: Path, name: str, recipe: Recipe, device: str, precision: str, resume: bool) -> Path:
    """Train by the recipe; the model folder appears among the user's models."""
    out = user_models_dir() / name
    return train_classifier(data, out, recipe, name=name, device=device, precision=precision, resume=resume)


@flow(name="train", flow_run_name="train {name}", persist_result=False)
def train(
    data: Path, name: str, recipe: Recipe, device: str = "auto", precision: str = "auto", resume: bool = False
) -> Path:
    """Train on Training, choose the epoch and the temperature on PublicTest, measure PrivateTest once.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not there.
    """
    folder = train_and_register(data, name, recipe, device, precision, resume)
    card = read_card(folder)
    lines = [f"## {name}", "", f"{card.protocol}", "", "| split | figure | value |", "| --- | --- | --- |"]
    lines += [f"| {split} | {k} | {v} |" for split, figures in card.metrics.items() for k, v in figures.items()]
    lines += ["", f"Recipe: `{dataclasses.asdict(recipe)}`"]
    create_markdown_artifact("\n".join(lines), key="train-summary", description="What the trained model is worth")
    return folder

"""The summary of a trained network in the Prefect user interface."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from fer_models.registry.model_registry import read_card


def publish_summary(folder: Path, key: str) -> None:
    """Create an artifact from the card of the network in a model folder: its protocol and its figures."""
    card = read_card(folder)
    text = f"## {card.name}\n\n{card.protocol}\n\n{card.summary()}"
    create_markdown_artifact(text, key=f"{key}-summary", description="Metrics of the trained network")

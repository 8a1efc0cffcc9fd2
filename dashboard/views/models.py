"""Page Models: what each model is, how it was made, and how well it does."""

import json
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.data.live_refresh import refresh_with_trainings
from dashboard.data.trainings import unfinished_trainings
from fer_models.registry.model_registry import ModelCard, WeightsError, list_model_dirs, read_card

NAMES = {
    "macro_f1": "macro F1",
    "ece": "ECE",
    "votes_accuracy": "accuracy to votes",
    "votes_macro_f1": "macro F1 to votes",
    "votes_ece": "ECE to votes",
}
COMPARED = {
    "emotion": ("accuracy", "macro_f1", "ece", "votes_accuracy", "votes_macro_f1", "votes_ece"),
    "detector": ("recall", "precision", "average_precision"),
}
IDENTITY = ("model", "architecture", "parameters", "calibrated on")
TASKS = {"emotion": "Emotions", "detector": "Face detectors"}


def shown_name(figure: str) -> str:
    """What a figure is called for people."""
    return NAMES.get(figure, figure.replace("_", " "))


def summary_of(name: str, card: ModelCard) -> dict[str, Any]:
    """A row of the comparison: what is on the card about one split."""
    _, figures = card.measured()
    row = {"model": name, "architecture": card.architecture, "parameters": card.parameters}
    row["calibrated on"] = card.settings.get("temperature_fitted_on")
    return row | {shown_name(figure): figures.get(figure) for figure in COMPARED.get(card.task, ())}


def show_comparison(cards: dict[str, ModelCard]) -> None:
    """A table for each task, without columns that no card fills."""
    for task, heading in TASKS.items():
        rows = pd.DataFrame([summary_of(name, card) for name, card in cards.items() if card.task == task])
        if rows.empty:
            continue
        rows = rows.dropna(axis=1, how="all")
        figures = [name for name in rows.columns if name not in IDENTITY]
        columns: dict[str, Any] = {name: st.column_config.NumberColumn(format="%.3f") for name in figures}
        columns["parameters"] = st.column_config.NumberColumn(format="localized")
        st.subheader(heading)
        if task == "emotion":
            st.caption(
                "Measured on PrivateTest of FER-2013 where the card has it; that split chose nothing. To votes: to "
                "what most of ten annotators named. ECE: expected calibration error, how far probabilities are off; "
                "it is small against what the model is calibrated on."
            )
        st.dataframe(rows, hide_index=True, column_config=columns, placeholder="")


def show_card(name: str, folder: Path, card: ModelCard) -> None:
    """One model: protocol, metrics, pictures, and all the rest folded away."""
    st.subheader(name)
    st.markdown(card.protocol or "_The card does not say how it was measured._")
    tables = {split: figures for split, figures in card.metrics.items() if isinstance(figures, dict)}
    plain = {
        split: {figure: value for figure, value in figures.items() if isinstance(value, int | float)}
        for split, figures in tables.items()
    }
    if plain:
        table = pd.DataFrame(plain).T.rename(columns=shown_name).rename_axis("split")
        st.dataframe(table, placeholder="")
    pictures = sorted(folder.glob("*.png"))
    if pictures:
        for place, picture in zip(st.columns(2) * len(pictures), pictures, strict=False):
            what = picture.stem.replace("_", " ")
            place.image(str(picture), caption=what, alt=f"{name}: {what}")
    st.caption(card.licence_note)
    with st.expander("The whole card"):
        st.json(json.dumps(card.as_json()))


def show_trainings() -> None:
    """Trainings that have not made their model yet, with the curves of their epochs."""
    for training in unfinished_trainings():
        done = len(training.epochs)
        st.subheader(f"In training: {training.name}" if training.is_alive else f"Begun: {training.name}")
        st.progress(min(1.0, done / max(training.total_epochs, 1)), f"epoch {done} of {training.total_epochs}")
        ago = f"The last epoch ended {training.minutes_since_last} min ago"
        if training.is_alive:
            st.caption(f"{ago}; about {max(1, round(training.left_s / 60))} min left.")
        else:
            st.caption(f"{ago}: it seems to have stopped. The same command with `--resume` goes on.")
        st.altair_chart(training_chart(training.epochs))


def training_chart(epochs: list[dict[str, float]]) -> alt.HConcatChart:
    """Losses and accuracies of each epoch, side by side."""
    rows = pd.DataFrame(epochs).drop(columns="seconds", errors="ignore").rename_axis("epoch").reset_index()
    rows["epoch"] += 1
    long = rows.melt("epoch", var_name="figure")
    base = alt.Chart(long, height=180).mark_line(point=True)
    sides = [
        base.transform_filter(f"indexof(datum.figure, '{kind}') >= 0").encode(
            x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=kind, scale=alt.Scale(zero=False)),
            color=alt.Color("figure:N", title=None, legend=alt.Legend(orient="bottom")),
            tooltip=["epoch:Q", "figure:N", alt.Tooltip("value:Q", format=".4f")],
        )
        for kind in ("loss", "accuracy")
    ]
    chart: alt.HConcatChart = alt.hconcat(*sides).resolve_scale(color="independent")
    return chart


def main() -> None:
    """Draw the page."""
    st.title("Models")
    show_trainings()
    refresh_with_trainings()
    folders = list_model_dirs()
    cards: dict[str, ModelCard] = {}
    for name, folder in folders.items():
        try:
            cards[name] = read_card(folder)
        except WeightsError as error:
            st.error(str(error))
    if not cards:
        st.info("There is no model here.")
        return
    show_comparison(cards)
    names = list(cards)
    name = st.selectbox("Model", names, index=names.index("default") if "default" in names else 0)
    show_card(name, folders[name], cards[name])


if __name__ == "__main__":
    main()

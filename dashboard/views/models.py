"""Page Models: what each model is, how it was trained, and how accurate it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.data.live_refresh import refresh_with_trainings
from dashboard.data.trainings import unfinished_trainings
from dashboard.text import plain
from dashboard.widgets.charts import show_chart
from fer_models.registry.model_registry import ModelCard, WeightsError, list_model_dirs, read_card

# Prefix and suffix of metric names on a card, and what they mean: what is compared, or how.
GROUPS = (
    ("votes_", "", "against the emotion with the most votes of the annotators, where one has most"),
    ("", "_not_in_training", "without images that are also in the training data"),
    ("", "_flip_averaged", "averaged over the image and its mirror image"),
    ("", "_crops_averaged", "averaged over several crops"),
    ("", "", "against the labels of the data"),
)
NAMES = {"macro_f1": "macro F1", "ece": "ECE", "ece_uncalibrated": "ECE before calibration", "f1": "F1"}
COMPARED = {
    "emotion": {
        "accuracy (labels)": "accuracy",
        "macro F1 (labels)": "macro_f1",
        "ECE (labels)": "ece",
        "accuracy (votes)": "votes_accuracy",
        "macro F1 (votes)": "votes_macro_f1",
        "ECE (votes)": "votes_ece",
    },
    "detector": {"recall": "recall", "precision": "precision", "average precision": "average_precision"},
    "landmarks": {
        "mean error": "mean_error",
        "eye openness, correlation": "eye_openness_correlation",
        "mouth opening, correlation": "mouth_opening_correlation",
    },
}
TASKS = {"emotion": "Emotion models", "detector": "Face detectors", "landmarks": "Facial landmarks"}


def figure_name(figure: str) -> tuple[str, str]:
    """The group of a figure on a card, and its display name.

    >>> figure_name("votes_macro_f1")
    ('against the emotion with the most votes of the annotators, where one has most', 'macro F1')
    """
    for prefix, suffix, group in GROUPS:
        if figure.startswith(prefix) and figure.endswith(suffix):
            plain_figure = figure.removeprefix(prefix).removesuffix(suffix)
            return group, NAMES.get(plain_figure, plain_figure.replace("_", " "))
    return "", figure


def summary_of(name: str, card: ModelCard) -> dict[str, object]:
    """A row of the comparison: the figures on the card for one split."""
    _, figures = card.measured()
    row = {"model": name, "architecture": card.architecture, "parameters": card.parameters}
    row["calibrated on"] = card.settings.get("temperature_fitted_on")
    return row | {shown: figures.get(figure) for shown, figure in COMPARED.get(card.task, {}).items()}


def show_comparison(cards: dict[str, ModelCard]) -> None:
    """A table for each task, without columns that no card fills."""
    for task, heading in TASKS.items():
        rows = pd.DataFrame([summary_of(name, card) for name, card in cards.items() if card.task == task])
        if rows.empty:
            continue
        rows = rows.dropna(axis=1, how="all")
        columns: dict[str, Any] = {name: st.column_config.NumberColumn(format="%.3f") for name in COMPARED[task]}
        columns["parameters"] = st.column_config.NumberColumn(format="localized")
        st.subheader(heading)
        st.dataframe(rows, hide_index=True, column_config=columns, placeholder="", height="content")
        if task == "emotion":
            st.caption(
                "Where the card has it, measured on the split PublicTest of FER-2013, by which models are chosen. The "
                "final figures, on PrivateTest, are below. Labels: the labels of the data set. Votes: the emotion with "
                "more of the ten votes of FER+ than any other answer. ECE: expected calibration error."
            )


def metrics_table(metrics: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    """The figures of a card, a row each, with a column for each split; 95 % intervals in brackets."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for split, figures in metrics.items():
        if not isinstance(figures, dict):
            continue
        for figure, value in figures.items():
            if isinstance(value, int | float):
                interval = figures.get(f"{figure}_interval")
                text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
                if interval:
                    text += f" ({interval[0]:.3f} to {interval[1]:.3f})"
                rows.setdefault(figure_name(figure), {})[split] = text
    order = {group: number for number, (_, _, group) in enumerate((GROUPS[-1], *GROUPS[:-1]))}
    keys = sorted(rows, key=lambda key: order.get(key[0], len(order)))
    return pd.DataFrame([{"measured": group, "figure": figure, **rows[group, figure]} for group, figure in keys])


def show_card(name: str, folder: Path, card: ModelCard) -> None:
    """One model: protocol, metrics, plots, and the whole card folded."""
    st.subheader(plain(name))
    st.markdown(plain(card.protocol) or "_The card does not say how the model was measured._")
    table = metrics_table(card.metrics)
    if not table.empty:
        st.dataframe(table, hide_index=True, placeholder="", height="content")
    for plot in sorted(folder.glob("*.png")):
        what = plot.stem.replace("_", " ")
        st.image(str(plot), caption=what, alt=f"{name}: {what}", width="content")  # a larger plot would be blurred
    st.caption(plain(card.license_note))
    with st.expander("The whole card"):
        st.json(json.dumps(card.as_json()))


def show_trainings() -> None:
    """Unfinished trainings, with the curves of their epochs."""
    for training in unfinished_trainings():
        done = len(training.epochs)
        st.subheader(
            f"In training: {plain(training.name)}" if training.is_alive else f"Stopped: {plain(training.name)}"
        )
        st.progress(min(1.0, done / max(training.total_epochs, 1)), f"epoch {done} of {training.total_epochs}")
        ago = f"The last epoch ended {training.minutes_since_last} min ago"
        if training.is_alive:
            st.caption(f"{ago}; about {max(1, round(training.left_s / 60))} min left.")
        else:
            st.caption(f"{ago}: the training seems to have stopped. Run the same command with `--resume` to continue.")
        show_chart(training_chart(training.epochs))


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
    refresh_with_trainings()
    show_trainings()
    folders = list_model_dirs()
    cards: dict[str, ModelCard] = {}
    for name, folder in folders.items():
        try:
            cards[name] = read_card(folder)
        except WeightsError as error:
            st.error(plain(error))
    if not cards:
        st.info("There are no models.")
        return
    show_comparison(cards)
    names = list(cards)
    first = names.index("default") if "default" in names else 0
    name = st.selectbox("Model", names, index=first, key="model", persist_state="session")
    show_card(name, folders[name], cards[name])


if __name__ == "__main__":
    main()

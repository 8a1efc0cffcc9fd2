"""Pages that update themselves when results, notes or a training change.

The browser polls a route for an entity tag (etag); only a changed tag reruns the page. Streamlit's timers
(`run_every`) cannot be used here: one that fires while another page is being opened leaves that page empty.
"""

import json
from dataclasses import astuple

import streamlit as st

from analytics.results.notes import notes_etag
from analytics.results.storage_paths import is_remote
from dashboard.data.results import REMOTE_CHECK_EVERY_S, Results
from dashboard.data.trainings import unfinished_trainings

REFRESH_S = 2.0
TRAINING_REFRESH_S = 3.0
REFRESH_JS = """
const timers = new WeakMap(); // keyed by Streamlit's element, because Streamlit calls this again with new data
export default function ({ data, parentElement, setTriggerValue }) {
  clearInterval(timers.get(parentElement));
  let known = data.etag;
  const poll = async () => {
    try {
      const response = await fetch(new URL(data.route, document.baseURI));
      const etag = await response.text();
      if (!response.ok || etag === known || !parentElement.isConnected) return;
      known = etag;
      setTriggerValue("change", etag);
    } catch { /* the server does not answer: try again */ }
  };
  timers.set(parentElement, setInterval(poll, data.every_ms));
  return () => clearInterval(timers.get(parentElement));
}
"""
refresher = st.components.v2.component("fervid_refresher", html="", js=REFRESH_JS)


def results_etag(results: Results) -> str:
    """A text that changes when an analysis is added, a running one advances, or a person is renamed or hidden."""
    return json.dumps([*results.etag(), *map(astuple, results.running()), *results.notes_etag()])


def video_etag(results: Results, video_id: str) -> str:
    """A text that changes when an analysis is added or the notes of a video change."""
    return json.dumps([*results.etag(), notes_etag(results.root, video_id)])


def trainings_etag() -> str:
    """A text that changes when a training begins, ends an epoch or stops, and each minute while it waits."""
    return json.dumps([[t.name, len(t.epochs), t.is_alive, t.minutes_since_last] for t in unfinished_trainings()])


def refresh_with_results(results: Results) -> None:
    """Rerun this page, for as long as it is open, whenever `results_etag` changes; queries after it see the change."""
    _refresh("fervid/etag", results_etag(results), _interval_s(results))
    results.refresh()


def refresh_with_video(results: Results, video_id: str) -> None:
    """Rerun this page, for as long as it is open, whenever `video_etag` changes.

    Queries after this call see the changes: otherwise a page would show older data than its etag, and never notice.
    """
    _refresh(f"fervid/etag/{video_id}", video_etag(results, video_id), _interval_s(results))
    results.refresh()


def refresh_with_trainings() -> None:
    """Rerun this page, for as long as it is open, whenever a training advances; call it before they are read."""
    _refresh("fervid/trainings", trainings_etag(), TRAINING_REFRESH_S)


def _interval_s(results: Results) -> float:
    return REMOTE_CHECK_EVERY_S if is_remote(results.root) else REFRESH_S


def _refresh(route: str, etag: str, every_s: float) -> None:
    data = {"route": route, "etag": etag, "every_ms": round(1000 * every_s)}
    refresher(key="refresher", data=data, on_change_change=lambda: None)

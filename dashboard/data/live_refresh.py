"""Pages that draw themselves anew when there is more in the results, or in a training.

The browser asks a route for a etag again and again, and only another answer runs the page. Streamlit's timers
(`run_every`) cannot be used here: one that goes off while another page is being opened leaves that page empty.
"""

import json
from dataclasses import astuple

import streamlit as st

from analytics.results.status import running
from analytics.results.storage_paths import is_remote
from dashboard.data.results import CHECK_ADDRESS_EVERY_S, Results
from dashboard.data.trainings import unfinished_trainings

REFRESH_S = 2.0
TRAINING_REFRESH_S = 10.0
FOLLOW_JS = """
const timers = new WeakMap(); // by the element that Streamlit gives: it calls again with new data
export default function ({ data, parentElement, setTriggerValue }) {
  clearInterval(timers.get(parentElement));
  let told = data.etag;
  const ask = async () => {
    try {
      const answer = await fetch(new URL(data.route, document.baseURI));
      const etag = await answer.text();
      if (!answer.ok || etag === told || !parentElement.isConnected) return;
      told = etag;
      setTriggerValue("change", etag);
    } catch { /* the server is not there: ask again */ }
  };
  timers.set(parentElement, setInterval(ask, data.every_ms));
  return () => clearInterval(timers.get(parentElement));
}
"""
follower = st.components.v2.component("fervid_follower", html="", js=FOLLOW_JS)


def results_etag(results: Results) -> str:
    """Another text whenever an analysis is added or one that is under way has come further."""
    return json.dumps([*results.etag(), *map(astuple, running(results.root))])


def trainings_etag() -> str:
    """Another text whenever an epoch of a training has ended, one begins or stops, and each minute that they wait."""
    return json.dumps([[t.name, len(t.epochs), t.is_alive, t.minutes_since_last] for t in unfinished_trainings()])


def follow(results: Results) -> None:
    """Draw this page anew, for as long as it is open, whenever there is more in the results."""
    every_s = CHECK_ADDRESS_EVERY_S if is_remote(results.root) else REFRESH_S
    _follow("fervid/etag", results_etag(results), every_s)


def follow_trainings() -> None:
    """Draw this page anew, for as long as it is open, whenever a training has come further."""
    _follow("fervid/trainings", trainings_etag(), TRAINING_REFRESH_S)


def _follow(route: str, etag: str, every_s: float) -> None:
    data = {"route": route, "etag": etag, "every_ms": round(1000 * every_s)}
    follower(key="follower", data=data, on_change_change=lambda: None)

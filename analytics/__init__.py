"""From observed faces to answers: tracks, smoothing, episodes, storage, SQL and exports; never imports torch.

>>> from analytics import connect
>>> connect("results").sql("SELECT smooth_emotion, count(*) FROM faces GROUP BY 1")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics.queries.connection import connect as connect
    from analytics.results.store import Store as Store
    from analytics.sandbox.process import query as query
    from analytics.timeline.build import TimelineConfig as TimelineConfig
    from analytics.timeline.build import build_timeline as build_timeline

_HOME = {
    "connect": "analytics.queries.connection",
    "query": "analytics.sandbox.process",
    "Store": "analytics.results.store",
    "TimelineConfig": "analytics.timeline.build",
    "build_timeline": "analytics.timeline.build",
}
__all__ = ["Store", "TimelineConfig", "build_timeline", "connect", "query"]


def __getattr__(name: str) -> Any:
    """Import on first use: DuckDB, SciPy and Arrow datasets together take a second."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

"""The most frequent questions about results, one function each; their SQL is in the folder `sql`.

Each function takes a connection made by `analytics.connect`, to a library or one video, and returns an Arrow table
without hidden people. Shares are shares of time, not of frames; `n_low_quality` counts faces of low quality, without
good ones that `--speech` leaves out.

>>> from analytics import connect, queries
>>> queries.shares(connect("results", video="interview.mp4")).to_pandas()  # doctest: +SKIP
"""

from analytics.queries.averages import averages, missing_baseline_note
from analytics.queries.comparison import compare, compare_events
from analytics.queries.event_notes import (
    baseline_overlap_note,
    late_events_note,
    repeated_events_note,
    unassigned_events_note,
    unseen_events_note,
)
from analytics.queries.events import during_events
from analytics.queries.group_timelines import group_timeline
from analytics.queries.groups import GroupError, several_people_note
from analytics.queries.quality_notes import (
    baseline_note,
    dropped_frames_note,
    gate_note,
    mixed_settings_note,
    short_time_note,
    speech_notes,
    still_images_note,
    unconfirmed_people_note,
    untracked_note,
)
from analytics.queries.rates import dwell, rates
from analytics.queries.sql_files import sql_of
from analytics.queries.summaries import (
    failures,
    gate_effect,
    library,
    movements,
    quality,
    shares,
    timeline,
    top_moments,
    totals,
    transitions,
    validity,
)
from analytics.queries.synchrony import synchrony

__all__ = [
    "GroupError",
    "averages",
    "baseline_note",
    "baseline_overlap_note",
    "compare",
    "compare_events",
    "dropped_frames_note",
    "during_events",
    "dwell",
    "failures",
    "gate_effect",
    "gate_note",
    "group_timeline",
    "late_events_note",
    "library",
    "missing_baseline_note",
    "mixed_settings_note",
    "movements",
    "quality",
    "rates",
    "repeated_events_note",
    "several_people_note",
    "shares",
    "short_time_note",
    "speech_notes",
    "sql_of",
    "still_images_note",
    "synchrony",
    "timeline",
    "top_moments",
    "totals",
    "transitions",
    "unassigned_events_note",
    "unconfirmed_people_note",
    "unseen_events_note",
    "untracked_note",
    "validity",
]

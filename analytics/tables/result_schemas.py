"""The columns of answers that are worked out in Python; those in SQL explain themselves in `analytics/queries`."""

import pyarrow as pa

from analytics.tables.schema import explained
from fer_models.labels import EMOTIONS

COMPARISON = explained(
    "`fervid summary RESULTS compare --groups FILE`, `queries.compare`: how groups of videos differ; a row per pair of "
    "groups and emotion.",
    ("group_a", pa.string(), "", "the one group, first in the alphabet"),
    ("group_b", pa.string(), "", "the other group"),
    ("emotion", pa.string(), "", "the emotion compared"),
    ("n_videos_a", pa.int64(), "", "videos of group a with a label; those without any are left out"),
    ("n_videos_b", pa.int64(), "", "likewise of group b"),
    ("n_tracks_a", pa.int64(), "", "tracks in the videos of group a"),
    ("n_tracks_b", pa.int64(), "", "likewise of group b"),
    (
        "mean_a",
        pa.float64(),
        "0 to 1",
        "mean over the videos of group a, each counting once, of the share of labeled time that shows the emotion",
    ),
    ("mean_b", pa.float64(), "0 to 1", "likewise of group b"),
    ("difference", pa.float64(), "-1 to 1", "mean_a - mean_b"),
    (
        "low",
        pa.float64(),
        "-1 to 1",
        "lower end of the 95 % interval of difference: percentile bootstrap, 2,000 resamples of the videos of each "
        "group; of twenty comparisons between groups that do not differ, about one interval leaves out 0; NULL if a "
        "group has one video only",
    ),
    ("high", pa.float64(), "-1 to 1", "upper end of it"),
    (
        "cliffs_delta",
        pa.float64(),
        "-1 to 1",
        "how much oftener a video of a shows more than one of b than the other way round: 1 always, -1 never",
    ),
    ("delta_low", pa.float64(), "-1 to 1", "lower end of the 95 % interval of cliffs_delta, as low"),
    ("delta_high", pa.float64(), "-1 to 1", "upper end of it"),
    ("gated_share", pa.float64(), "0 to 1", "share of the faces of both that the quality gate rejects"),
)

SYNCHRONY = explained(
    "`fervid summary RESULTS synchrony`, `queries.synchrony`: whether people who are seen together show the same; a "
    "row per video (`path`) and pair of tracks. There are no intervals: frames that follow one another are alike, so "
    "count pairs and videos, not frames.",
    ("track_a", pa.int32(), "", "the one track"),
    ("track_b", pa.int32(), "", "the other; track_a < track_b"),
    ("together_s", pa.float64(), "s", "time in which both are in the frame with a smooth_emotion; 2 s at least"),
    ("share_same", pa.float64(), "0 to 1", "share of it in which they show the same emotion"),
    (
        "share_same_by_chance",
        pa.float64(),
        "0 to 1",
        "what that would be if each showed as much of each emotion as it does, but independently",
    ),
    (
        "kappa",
        pa.float64(),
        "at most 1",
        "Cohen's kappa: (share_same - by chance) / (1 - by chance); 1 always the same, 0 as by chance, below 0 less; "
        "NULL if both showed one and the same thing only",
    ),
    (
        "valence_r",
        pa.float64(),
        "-1 to 1",
        "correlation of the valence of their smoothed probabilities; NULL where somebody's stays the same",
    ),
    (
        "valence_r_windowed",
        pa.float64(),
        "-1 to 1",
        "its mean over windows of 10 s that are at least half filled: moods that drift alike do not count",
    ),
    ("n_windows", pa.int64(), "", "how many such windows there are"),
)

DURING_EVENTS = explained(
    "`fervid summary RESULTS events --events FILE`, `queries.during_events`: what each person showed during each "
    "event; a row per video (`path`), event and track. Whoever is seen for a moment of it has a row, too: look at ok_s "
    "before the means. There are no intervals: one row is one person, once.",
    ("label", pa.string(), "", "the event"),
    ("start_s", pa.float64(), "s", "from when it lasts, in the time of the video"),
    ("end_s", pa.float64(), "s", "to when (half-open)"),
    ("track_id", pa.int32(), "", "a track seen during it"),
    ("seen_s", pa.float64(), "s", "time for which the track is seen in it"),
    ("ok_s", pa.float64(), "s", "of seen_s, the time with a face of good quality"),
    ("labelled_s", pa.float64(), "s", "of seen_s, the time with a smooth_emotion"),
    ("emotion", pa.string(), "", "the emotion it shows for longest"),
    *((f"share_{name}", pa.float32(), "0 to 1", f"share of labelled_s that shows {name}") for name in EMOTIONS),
    *((f"mean_{name}", pa.float32(), "0 to 1", f"mean of p_{name} over ok_s, not smoothed") for name in EMOTIONS),
    *(
        (
            f"change_{name}",
            pa.float32(),
            "-1 to 1",
            f"mean_{name} less the mean of p_{name} over the 5 s before the event; NULL if no good face was seen then",
        )
        for name in EMOTIONS
    ),
)

ANSWERS = {"compare": COMPARISON, "synchrony": SYNCHRONY, "events": DURING_EVENTS}

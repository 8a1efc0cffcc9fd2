"""The columns of the answers of `fervid summary` and `fervid agreement` whose names do not say everything."""

import pyarrow as pa

from analytics.tables.schema import explained
from fer_models.labels import EMOTIONS

_PERSON = (
    ("path", pa.string(), "", "the video"),
    ("track_id", pa.int32(), "", "the person in it: the track"),
    ("person", pa.string(), "", "the name given to the person in the dashboard, else P and the track number"),
)
SHARES = explained(
    "`fervid summary RESULTS shares`, `queries.shares`: the share of time for which each person shows each emotion; a "
    "row per video and track.",
    *_PERSON,
    ("labelled_s", pa.float64(), "s", "time with a smooth_emotion; with `--all-faces` also that of low-quality faces"),
    ("n_faces", pa.int64(), "", "faces of the track"),
    ("n_low_quality", pa.int64(), "", "of these, low-quality faces, which have a label only near good ones"),
    *((name, pa.float32(), "0 to 1", f"share of labelled_s that shows {name}") for name in EMOTIONS),
)

QUALITY = explained(
    "`fervid summary RESULTS quality`, `queries.quality`: how many faces are of low quality, and why; a row per "
    "reason.",
    ("reason", pa.string(), "", "good, or a quality_reason of table faces"),
    ("n_faces", pa.int64(), "", "faces with this reason, also those without a track"),
    ("share", pa.float64(), "0 to 1", "their share of all faces"),
    ("seen_s", pa.float64(), "s", "the time for which they are shown"),
)

GATE = explained(
    "`fervid summary RESULTS gate`, `queries.gate_effect`: whether the shares of time would differ without the quality "
    "filter; a row per emotion. Faces that --speech leaves out are not counted.",
    ("emotion", pa.string(), "", "the emotion"),
    ("labelled_s", pa.float64(), "s", "time with this label"),
    ("all_faces_s", pa.float64(), "s", "likewise if low-quality faces without a label have that of their own frame"),
    ("share", pa.float64(), "0 to 1", "share of labelled_s over all emotions"),
    ("share_all_faces", pa.float64(), "0 to 1", "share of all_faces_s over all emotions"),
    ("n_faces", pa.int64(), "", "faces in all_faces_s"),
    ("n_low_quality", pa.int64(), "", "of these, low-quality faces"),
)

VALIDITY = explained(
    "`fervid summary RESULTS validity`, `queries.validity`: how far the results of each person can be trusted; a row "
    "per video and track.",
    *_PERSON,
    ("seen_s", pa.float64(), "s", "time for which the face was visible"),
    ("seen_share", pa.float64(), "0 to 1", "share of it in the time from the first to the last frame of the track"),
    ("good_share", pa.float64(), "0 to 1", "share of seen_s with a face of good quality, including left_out_share"),
    ("left_out_share", pa.float64(), "0 to 1", "share of seen_s with a face of good quality that --speech leaves out"),
    ("labelled_share", pa.float64(), "0 to 1", "share of seen_s with a smooth_emotion"),
    ("carried_share", pa.float64(), "0 to 1", "share of the labeled time with a carried label"),
    ("main_reason", pa.string(), "", "the reason of most low-quality faces; NULL if all faces are good"),
    (
        "yaw_median_deg",
        pa.float32(),
        "°",
        "median head turn to either side, over the faces: head_yaw_deg, or yaw_deg where landmark_score is unknown or "
        "below the threshold of the quality filter",
    ),
    ("yaw_p90_deg", pa.float32(), "°", "its 90th percentile"),
    (
        "observed_s",
        pa.float64(),
        "s",
        "time in which changes can be counted: the labeled time, and the gaps in it of up to 1 s within a shot",
    ),
    ("changes_per_min", pa.float64(), "1/min", "changes of the label per minute of observed_s"),
    (
        "speaking_labelled",
        pa.float64(),
        "0 to 1",
        "share of the labeled time with measured mouth movement that is in intervals of speaking-like mouth movement; "
        "NULL if nothing was measured",
    ),
    *((f"speaking_{name}", pa.float64(), "0 to 1", f"likewise of the time with the label {name}") for name in EMOTIONS),
    ("suspected_switch", pa.bool_(), "", "whether the track may have switched to another person"),
)

MOVEMENTS = explained(
    "`fervid summary RESULTS movements`, `queries.movements`: blinks, speaking-like mouth movement, nods and head "
    "shakes; a row per video and track. Counts and rates are NULL without measured time. Rules: docs/movements.md.",
    *_PERSON,
    ("seen_s", pa.float64(), "s", "time for which the face was visible"),
    ("movements_measured_s", pa.float64(), "s", "time in which movements can be found: see table tracks"),
    ("n_blinks", pa.int64(), "", "blinks"),
    ("blinks_per_min", pa.float64(), "1/min", "blinks per minute of movements_measured_s"),
    ("blink_median_s", pa.float64(), "s", "median duration of a blink; NULL without any"),
    ("speaking_s", pa.float64(), "s", "time with speaking-like mouth movement"),
    ("speaking_share", pa.float64(), "0 to 1", "share of it in movements_measured_s"),
    ("n_nods", pa.int64(), "", "nods"),
    ("n_head_shakes", pa.int64(), "", "head shakes"),
)

COMPARISON = explained(
    "`fervid summary RESULTS compare` with `--groups` or `--events`, `queries.compare`, `queries.compare_events`: "
    "compare groups of videos or kinds of events; a row per pair of groups and emotion. Methods, "
    "assumptions and simulated coverage: docs/statistics.md.",
    ("group_a", pa.string(), "", "the first group in alphabetical order; with events, their label"),
    ("group_b", pa.string(), "", "the second group"),
    ("emotion", pa.string(), "", "the emotion compared"),
    ("n_a", pa.int64(), "", "videos of group a that are compared: those with a label"),
    ("n_b", pa.int64(), "", "likewise of group b"),
    (
        "n_participants_a",
        pa.int64(),
        "",
        "participants of group a, the units of intervals and tests; without participants, each video is one",
    ),
    ("n_participants_b", pa.int64(), "", "likewise of group b; the same number if paired"),
    ("n_tracks_a", pa.int64(), "", "tracks in the videos of group a"),
    ("n_tracks_b", pa.int64(), "", "likewise of group b"),
    (
        "mean_a",
        pa.float64(),
        "0 to 1",
        "mean over the participants of group a of the share of labeled time that shows the emotion; the share of a "
        "participant is the mean over their videos",
    ),
    ("mean_b", pa.float64(), "0 to 1", "likewise of group b"),
    ("estimate", pa.float64(), "-1 to 1", "the difference mean_a - mean_b"),
    (
        "low",
        pa.float64(),
        "-1 to 1",
        "lower end of the 95 % interval of estimate; NULL with fewer than 5 participants in a group, or if no value "
        "varies",
    ),
    ("high", pa.float64(), "-1 to 1", "upper end of it"),
    ("p_value", pa.float64(), "0 to 1", "two-sided p-value of the same method, not adjusted"),
    (
        "p_holm",
        pa.float64(),
        "0 to 1",
        "p_value adjusted by Holm over the seven emotions of the pair of groups, also those without a p_value",
    ),
    (
        "cliffs_delta",
        pa.float64(),
        "-1 to 1",
        "P(a > b) - P(a < b) over all pairs of participants (Cliff's delta); if paired, over the pairs of values of "
        "each participant; NULL with fewer than 2 participants in a group",
    ),
    (
        "delta_low",
        pa.float64(),
        "-1 to 1",
        "lower end of its 95 % interval: Newcombe's method 5, or Tango's score interval if paired",
    ),
    ("delta_high", pa.float64(), "-1 to 1", "upper end of it"),
    ("method", pa.string(), "", "method of low, high and p_value: Welch t, or paired t"),
    ("paired", pa.bool_(), "", "whether participants are compared with themselves, being in both groups"),
    (
        "note",
        pa.string(),
        "",
        "why there is no interval or delta, who is left out, and who counts fully with less than 10 % of the median "
        "labeled time of the group; NULL if there is nothing to say",
    ),
    (
        "low_quality_share",
        pa.float64(),
        "0 to 1",
        "share of low-quality faces among the compared faces of both groups, those of people with a label; with "
        "`--events`, share of the time of these people in the events (the note below the answer counts all faces)",
    ),
)

SYNCHRONY = explained(
    "`fervid summary RESULTS synchrony`, `queries.synchrony`: whether people visible at the same time show the same "
    "emotions; a row per video (`path`) and pair of tracks. Consecutive frames are correlated, so valence_r alone is "
    "not evidence: see p_surrogate and docs/statistics.md.",
    ("track_a", pa.int32(), "", "the first track"),
    ("track_b", pa.int32(), "", "the second track; track_a < track_b"),
    ("together_s", pa.float64(), "s", "time in which both are visible with a smooth_emotion; at least 2 s"),
    ("share_same", pa.float64(), "0 to 1", "share of it in which they show the same emotion"),
    (
        "share_same_by_chance",
        pa.float64(),
        "0 to 1",
        "share_same expected if the two were independent, with the same share of each emotion",
    ),
    (
        "kappa",
        pa.float64(),
        "-1 to 1",
        "Cohen's kappa: (share_same - by chance) / (1 - by chance); 1: always the same, 0: as by chance; "
        "NULL if both showed a single, equal emotion",
    ),
    (
        "valence_r",
        pa.float64(),
        "-1 to 1",
        "correlation of the valence of their smoothed probabilities; NULL if that of one of them hardly changes (a "
        "standard deviation below 0.01)",
    ),
    (
        "valence_r_windowed",
        pa.float64(),
        "-1 to 1",
        "mean of valence_r over windows of 10 s that are at least half filled: excludes slow common drift",
    ),
    ("n_windows", pa.int64(), "", "number of these windows"),
    (
        "peak_r",
        pa.float64(),
        "-1 to 1",
        "highest correlation of valence minus its mean over 10 s, on a grid of 0.2 s, with one of the two shifted by "
        "up to 3 s; NULL like valence_r",
    ),
    ("peak_lag_s", pa.float64(), "s", "the shift of peak_r; positive: track_b follows track_a"),
    (
        "chance_r",
        pa.float64(),
        "-1 to 1",
        "95th percentile of peak_r over surrogates, which have the gaps of track_b: track_b shifted in time, 999 times "
        "at most, and people of up to 100 other videos of the results, also with --video, who are visible for at least "
        "90 % of the common time; NULL with fewer than 19",
    ),
    (
        "p_surrogate",
        pa.float64(),
        "0 to 1",
        "(1 + k) / (1 + n_surrogates), where k surrogates have a peak_r at least as high; NULL with fewer than 19",
    ),
    ("n_surrogates", pa.int64(), "", "number of surrogates"),
)

DURING_EVENTS = explained(
    "`fervid summary RESULTS events --events FILE`, `queries.during_events`: what each person showed during each "
    "event; a row per video (`path`), event and track (`person` has the name), even if visible only briefly: check "
    "ok_s before using the means. Rows are single observations without intervals; `compare --events` and `averages` "
    "give intervals.",
    ("label", pa.string(), "", "the event"),
    ("start_s", pa.float64(), "s", "start, in the time of the video"),
    ("end_s", pa.float64(), "s", "end (half-open)"),
    ("track_id", pa.int32(), "", "a track visible during it"),
    ("seen_s", pa.float64(), "s", "time for which the track is visible in it"),
    ("ok_s", pa.float64(), "s", "of seen_s, the time with a face of good quality that --speech does not leave out"),
    ("left_out_s", pa.float64(), "s", "of seen_s, the time that --speech leaves out"),
    ("labelled_s", pa.float64(), "s", "of seen_s, the time with a smooth_emotion"),
    ("emotion", pa.string(), "", "the emotion shown longest; of equal ones, the first of share_…"),
    *((f"share_{name}", pa.float32(), "0 to 1", f"share of labelled_s that shows {name}") for name in EMOTIONS),
    *(
        (f"mean_{name}", pa.float32(), "0 to 1", f"mean of p_{name} over ok_s (--no-gate: seen_s), not smoothed")
        for name in EMOTIONS
    ),
    *(
        (
            f"change_{name}",
            pa.float32(),
            "-1 to 1",
            f"mean_{name} minus the mean of p_{name} over the time before the event (5 s, or --before), both without "
            "the correction of --baseline; NULL if no good face was seen then",
        )
        for name in EMOTIONS
    ),
)

AVERAGES = explained(
    "`fervid summary RESULTS averages --events FILE`, `queries.averages`: event-related averages; a row per event "
    "label, time bin from the onset (negative before it) and emotion. Intervals are pointwise: docs/statistics.md.",
    ("label", pa.string(), "", "the event"),
    ("start_s", pa.float64(), "s", "start of the bin, from the onset of the event"),
    (
        "baseline_s",
        pa.float64(),
        "s",
        "mean time with a good face in the window before the onset (the baseline), over trials and people with one",
    ),
    ("emotion", pa.string(), "", "the emotion"),
    (
        "n_participants",
        pa.int64(),
        "",
        "participants (or videos) with a baseline and a good face in the bin; with --before 0, a good face",
    ),
    ("n_trials", pa.int64(), "", "events, each in one video, with such a participant"),
    ("mean", pa.float64(), "0 to 1", "their mean of p_… of good faces, per participant, then over participants"),
    (
        "estimate",
        pa.float64(),
        "-1 to 1",
        "likewise of the change: minus each person's mean over the window before the onset",
    ),
    ("low", pa.float64(), "", "lower end of its 95 % interval over participants; NULL with fewer than 5"),
    ("high", pa.float64(), "", "upper end of it"),
    ("note", pa.string(), "", "why there is no interval"),
)
RATES = explained(
    "`fervid summary RESULTS rates`, `queries.rates`: episodes of each emotion, and transitions, per minute of "
    "observed time.",
    ("measure", pa.string(), "", "episodes, or transitions: changes of the label"),
    ("emotion", pa.string(), "", "the emotion of the episodes; NULL: any"),
    ("n", pa.int64(), "", "the number of them, including those whose onset was not observed"),
    (
        "observed_s",
        pa.float64(),
        "s",
        "time with a label, over all people, and the gaps across which they are counted: up to 0.3 s for episodes, "
        "and 1 s within a shot for transitions; dropped frames of a live session are gaps",
    ),
    ("n_participants", pa.int64(), "", "participants (or videos) with a label"),
    ("estimate", pa.float64(), "1/min", "n per minute of observed_s"),
    (
        "low",
        pa.float64(),
        "1/min",
        "lower end of the 95 % interval over participants; NULL with fewer than 5, or if few have most of observed_s",
    ),
    ("high", pa.float64(), "1/min", "upper end of it"),
    ("note", pa.string(), "", "why there is no interval"),
)
DWELL = explained(
    "`fervid summary RESULTS dwell`, `queries.dwell`: how long episodes last; a row per emotion. Durations include "
    "gaps without a label of up to 0.3 s.",
    ("emotion", pa.string(), "", "the emotion of the episodes"),
    ("n_episodes", pa.int64(), "", "episodes, including those whose onset or offset was not observed"),
    ("n_tracks", pa.int64(), "", "tracks with such an episode"),
    ("n_videos", pa.int64(), "", "videos with such an episode"),
    ("total_s", pa.float64(), "s", "sum of the durations"),
    ("mean_s", pa.float64(), "s", "their mean, as far as the episodes were observed"),
    ("median_s", pa.float64(), "s", "their median, likewise"),
    ("longest_s", pa.float64(), "s", "the longest of them"),
    ("n_onset_unobserved", pa.int64(), "", "episodes that may have begun earlier, which km_median_s leaves out"),
    ("n_offset_unobserved", pa.int64(), "", "episodes that may have lasted longer"),
    ("km_median_s", pa.float64(), "s", "Kaplan-Meier median, which accounts for episodes that may have lasted longer"),
    (
        "low",
        pa.float64(),
        "s",
        "lower end of its 95 % interval over participants; NULL with fewer than 5, or if few have most of the episodes "
        "whose end was observed",
    ),
    ("high", pa.float64(), "s", "upper end of it"),
    ("note", pa.string(), "", "why there is no median or interval"),
)
_EVENT_COLUMNS = (
    (
        "n_coded_events",
        pa.int64(),
        "",
        "events of the reference: changes of its emotion while the other covers the time, and the first emotion in the "
        "time that both cover; changes within gaps longer than 0.3 s are not observed",
    ),
    ("n_label_events", pa.int64(), "", "likewise of the labels, or of the second coder"),
    (
        "n_matched",
        pa.int64(),
        "",
        "pairs of them with the same emotion and onsets within the tolerance",
    ),
    ("event_f1", pa.float64(), "0 to 1", "2 n_matched / (n_coded_events + n_label_events)"),
)
AGREEMENT = explained(
    "`fervid agreement RESULTS --codes FILE`, `--show summary`: agreement with human codes; a row over all, then "
    "one per video and person.",
    ("path", pa.string(), "", "the video; NULL in the row over all"),
    ("person", pa.string(), "", "the person as the codes name them, with commas between several names of a track"),
    ("compared_s", pa.float64(), "s", "time that both codings cover"),
    ("share_same", pa.float64(), "0 to 1", "share of it with the same emotion in both"),
    ("kappa", pa.float64(), "-1 to 1", "time-weighted Cohen's kappa; NULL if there is one emotion only"),
    (
        "low",
        pa.float64(),
        "-1 to 1",
        "lower end of the 95 % interval: jackknife over participants (or videos); NULL with fewer than 5, or if few "
        "have most of the compared time",
    ),
    ("high", pa.float64(), "-1 to 1", "upper end of it"),
    *_EVENT_COLUMNS,
    ("note", pa.string(), "", "why there is no interval"),
)
AGREEMENT_EMOTIONS = explained(
    "`fervid agreement … --show emotions`: a row per emotion, over all videos and people.",
    ("emotion", pa.string(), "", "the emotion"),
    ("coded_s", pa.float64(), "s", "compared time with this code"),
    ("labelled_s", pa.float64(), "s", "compared time with this label"),
    ("precision", pa.float64(), "0 to 1", "share of labelled_s with the same code"),
    ("recall", pa.float64(), "0 to 1", "share of coded_s with the same label"),
    *_EVENT_COLUMNS,
)
AGREEMENT_CONFUSION = explained(
    "`fervid agreement … --show confusion`: seconds of each pair of code (row) and label (column).",
    ("coded", pa.string(), "", "the code"),
    *((name, pa.float64(), "s", f"time with this code and the label {name}") for name in EMOTIONS),
)

ANSWERS = {
    "shares": SHARES,
    "quality": QUALITY,
    "gate": GATE,
    "validity": VALIDITY,
    "movements": MOVEMENTS,
    "compare": COMPARISON,
    "synchrony": SYNCHRONY,
    "events": DURING_EVENTS,
    "averages": AVERAGES,
    "rates": RATES,
    "dwell": DWELL,
    "agreement": AGREEMENT,
    "agreement, emotions": AGREEMENT_EMOTIONS,
    "agreement, confusion": AGREEMENT_CONFUSION,
}

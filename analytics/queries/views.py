"""The SQL of the views and macros that every connection to the results has."""

from analytics.queries.intervals import MAX_GAP_S
from analytics.queries.unfiltered import UNFILTERED_FACES_SQL
from analytics.tables.schema import SPEECH_REASONS
from analytics.time_tolerance import longest
from analytics.timeline.track_summary import UNSEEN_S

# Movements are stored in a column of tracks. Version 0.1 could not leave out speech, so its counts are 0. The views
# read the stored table, because the dashboard may replace the view `tracks`.
_MOVEMENTS = """
CREATE TEMP VIEW tracks AS
SELECT * EXCLUDE (movements)
    REPLACE (coalesce(n_faces_left_out, 0) AS n_faces_left_out, coalesce(left_out_s, 0) AS left_out_s)
FROM stored_tracks;
CREATE TEMP VIEW movements AS
SELECT video_id, analysis_id, track_id, movement.kind, movement.start_s, movement.end_s,
    movement.end_s - movement.start_s AS duration_s, movement.strength
FROM (SELECT video_id, analysis_id, track_id, unnest(movements) AS movement FROM stored_tracks)
"""
# A row per track; names and hidden people come from the users' notes.
_PEOPLE = """
CREATE TEMP VIEW people AS
SELECT video_id, analysis_id, track_id, CASE WHEN is_known THEN coalesce(name, 'P' || track_id) END AS person,
    CASE WHEN is_known THEN coalesce(name, video_id || '/P' || track_id) END AS participant,
    is_known AND name IS NOT NULL AS is_named, coalesce(is_hidden, false) AS is_hidden
FROM (
    SELECT *, coalesce(list_contains(analyses, analysis_id), true) AS is_known
    FROM tracks LEFT JOIN noted_people USING (video_id, track_id)
)
"""
# `FROM visible('faces')` is the table `faces` without hidden people. A hidden track number is hidden in every analysis,
# because the person may have the same number there. It is a macro and not a view, because the dashboard replaces some
# tables by others with fewer columns.
_VISIBLE = """
CREATE TEMP MACRO visible(name) AS TABLE
SELECT * FROM query_table(name) ANTI JOIN (SELECT video_id, track_id FROM noted_people WHERE is_hidden)
    USING (video_id, track_id)
"""
# left_out_by_speech(quality_reason) is true for good faces that --speech leaves out.
_LEFT_OUT_BY_SPEECH = f"""
CREATE TEMP MACRO left_out_by_speech(reason) AS coalesce(reason IN {SPEECH_REASONS}, false)
"""
# is_still_image(duration_s, live_since) is true for the row of a still image in `videos`: the only files without
# duration. A live session of one frame has none, too.
_IS_STILL_IMAGE = """
CREATE TEMP MACRO is_still_image(duration_s, live_since) AS coalesce(duration_s = 0, false) AND live_since IS NULL
"""
# FROM still_images() has the ids of the analyzed still images, whose faces have no tracks.
_STILL_IMAGES = """
CREATE TEMP MACRO still_images() AS TABLE
SELECT video_id, analysis_id FROM videos WHERE status = 'done' AND is_still_image(duration_s, live_since)
"""
# FROM observed_time() has the time in which episodes and transitions of each track can be counted: the time with a
# label, and the gaps across which they are counted, for transitions those within a shot. Dropped frames of a live
# session are such gaps.
_OBSERVED_TIME = f"""
CREATE TEMP MACRO observed_time() AS TABLE
WITH labeled AS (
    SELECT video_id, analysis_id, track_id, pts_s, coalesce(duration_s, 0) AS time_s
    FROM visible('faces') WHERE track_id IS NOT NULL AND smooth_emotion IS NOT NULL
), in_shots AS (
    SELECT *, count(*) FILTER (track_id IS NULL) OVER (PARTITION BY video_id, analysis_id ORDER BY pts_s) AS shot
    FROM (FROM labeled UNION ALL BY NAME SELECT video_id, analysis_id, pts_s FROM frames WHERE is_cut)
), with_gaps AS (
    SELECT *, lead(pts_s) OVER of_track - pts_s - time_s AS gap_s, lead(shot) OVER of_track = shot AS in_shot
    FROM in_shots WHERE track_id IS NOT NULL
    WINDOW of_track AS (PARTITION BY video_id, analysis_id, track_id ORDER BY pts_s)
)
SELECT video_id, analysis_id, track_id,
    sum(time_s) + coalesce(sum(gap_s) FILTER (gap_s <= {longest(MAX_GAP_S)}), 0) AS episodes_s,
    sum(time_s) + coalesce(sum(gap_s) FILTER (gap_s <= {longest(UNSEEN_S)} AND in_shot), 0) AS transitions_s
FROM with_gaps GROUP BY ALL
"""
# time_bins(start_s, end_s, bin_ms) has the numbers of the bins in which a frame is shown, seconds_in_bin(…) its time in
# one of them. Both round to microseconds, so that rounding errors of times never reach another bin. A frame of unknown
# duration is in the bin in which it begins, for an unknown time.
_TIME_BINS = """
CREATE TEMP MACRO time_bins(start_s, end_s, bin_ms) AS range(
    CAST(floor(round(1e6 * start_s) / (1000::BIGINT * bin_ms)) AS BIGINT),
    CAST(greatest(
        ceil(round(1e6 * end_s) / (1000::BIGINT * bin_ms)), floor(round(1e6 * start_s) / (1000::BIGINT * bin_ms)) + 1
    ) AS BIGINT)
);
CREATE TEMP MACRO seconds_in_bin(start_s, end_s, bin, bin_ms) AS CASE WHEN end_s IS NOT NULL THEN (
    least(round(1e6 * end_s), 1000::BIGINT * bin_ms * (bin + 1))
    - greatest(round(1e6 * start_s), 1000::BIGINT * bin_ms * bin)
) / 1e6 END
"""
# In this order, because later ones read earlier ones. They need the tables of the results, and `noted_people`.
VIEW_STATEMENTS = (
    _MOVEMENTS,
    _PEOPLE,
    _VISIBLE,
    _LEFT_OUT_BY_SPEECH,
    _IS_STILL_IMAGE,
    _STILL_IMAGES,
    UNFILTERED_FACES_SQL,
    _OBSERVED_TIME,
    _TIME_BINS,
)

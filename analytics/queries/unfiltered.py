"""Faces with labels and probabilities as they would be without the quality filter, in SQL."""

import math

from analytics.timeline.baseline import LEAST_P, ODDS_AT_REST
from fer_models.labels import EMOTIONS


def _weight(emotion: str) -> str:
    """The probability of an emotion, corrected as in `baseline.correct`, before scaling; NULL if unknown."""
    p = f"CASE WHEN p_{emotion} IS NOT NULL THEN greatest(p_{emotion}, {LEAST_P}) END"  # `greatest` ignores NULL
    if emotion == "neutral":
        return p
    at_rest = f"greatest(baseline_neutral, {LEAST_P}) / greatest(baseline_{emotion}, {LEAST_P})"
    return f"{p} * least(1, {math.exp(ODDS_AT_REST)} * {at_rest})"


_BASELINES = ", ".join(["baseline_start_s", *(f"baseline_{emotion}" for emotion in EMOTIONS)])
_WEIGHTS = ", ".join(f"{_weight(emotion)} AS w_{emotion}" for emotion in EMOTIONS)
_SUM_P, _SUM_W = (" + ".join(f"{prefix}_{emotion}" for emotion in EMOTIONS) for prefix in "pw")
_GREATEST = f"greatest({', '.join(f'w_{emotion}' for emotion in EMOTIONS)})"
_MOST_LIKELY = " ".join(f"WHEN w_{emotion} THEN '{emotion}'" for emotion in EMOTIONS)
_PROBABILITIES = ", ".join(
    f"coalesce(smooth_{emotion}, CASE WHEN NOT is_left_out THEN CASE WHEN baseline_start_s IS NULL THEN p_{emotion} "
    f"ELSE w_{emotion} * ({_SUM_P}) / ({_SUM_W}) END END) AS unfiltered_{emotion}"
    for emotion in EMOTIONS
)
# FROM unfiltered_faces() has the visible faces with unfiltered_emotion and unfiltered_angry, …: the smoothed values or,
# for low-quality faces without any, those of their own frame, corrected for the resting face of their track. They are
# NULL where --speech leaves out the time.
UNFILTERED_FACES_SQL = f"""
CREATE TEMP MACRO unfiltered_faces() AS TABLE
WITH weighted AS (
    SELECT shown.*, baseline_start_s, {_WEIGHTS},
        CASE settings ->> '$.timeline.quality.speech'
            WHEN 'exclude' THEN is_speaking IS TRUE
            WHEN 'only' THEN is_speaking IS NOT TRUE
            ELSE false
        END AS is_left_out
    FROM visible('faces') AS shown
    JOIN (SELECT video_id, analysis_id, settings FROM videos) USING (video_id, analysis_id)
    LEFT JOIN (SELECT video_id, analysis_id, track_id, {_BASELINES} FROM tracks) USING (video_id, analysis_id, track_id)
)
SELECT * EXCLUDE (baseline_start_s, is_left_out, {", ".join(f"w_{emotion}" for emotion in EMOTIONS)}),
    coalesce(smooth_emotion, CASE WHEN NOT is_left_out THEN
        CASE WHEN baseline_start_s IS NULL THEN emotion ELSE CASE {_GREATEST} {_MOST_LIKELY} END END
    END) AS unfiltered_emotion,
    {_PROBABILITIES}
FROM weighted
"""

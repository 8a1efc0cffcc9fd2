-- The facial movements of each person (track): blinks per minute, time in speaking-like mouth movement, nods and head
-- shakes. Each is NULL if it could not be measured at all, such as blinks below 20 frames per second.
WITH counted AS (
    SELECT video_id, analysis_id, track_id, count(*) FILTER (kind = 'blink') AS n_blinks,
        median(duration_s) FILTER (kind = 'blink') AS blink_median_s,
        sum(duration_s) FILTER (kind = 'speaking') AS speaking_s, count(*) FILTER (kind = 'nod') AS n_nods,
        count(*) FILTER (kind = 'head_shake') AS n_head_shakes
    FROM movements GROUP BY ALL
)
SELECT path, track_id, person, seen_s, eyes_measured_s,
    CASE WHEN eyes_measured_s > 0 THEN coalesce(n_blinks, 0) END AS n_blinks,
    CASE WHEN eyes_measured_s > 0 THEN coalesce(n_blinks, 0) / (eyes_measured_s / 60) END AS blinks_per_min,
    blink_median_s, mouth_measured_s,
    CASE WHEN mouth_measured_s > 0 THEN coalesce(speaking_s, 0) END AS speaking_s,
    CASE WHEN mouth_measured_s > 0 THEN coalesce(speaking_s, 0) / mouth_measured_s END AS speaking_share,
    head_measured_s, CASE WHEN head_measured_s > 0 THEN coalesce(n_nods, 0) END AS n_nods,
    CASE WHEN head_measured_s > 0 THEN coalesce(n_head_shakes, 0) END AS n_head_shakes
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
    LEFT JOIN counted USING (video_id, analysis_id, track_id)
ORDER BY path, track_id

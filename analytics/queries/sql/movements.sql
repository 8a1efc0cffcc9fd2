-- The facial movements of each person (track): blinks per minute, time in speaking-like mouth movement, nods and head
-- shakes. All are NULL for people whose movements could not be measured, as at fewer than 20 frames per second.
WITH counted AS (
    SELECT video_id, analysis_id, track_id, count(*) FILTER (kind = 'blink') AS blinks,
        median(duration_s) FILTER (kind = 'blink') AS blink_median_s,
        sum(duration_s) FILTER (kind = 'speaking') AS speaking, count(*) FILTER (kind = 'nod') AS nods,
        count(*) FILTER (kind = 'head_shake') AS head_shakes
    FROM movements GROUP BY ALL
), measured AS (
    SELECT video_id, analysis_id, track_id, nullif(movements_measured_s, 0) AS measured_s FROM tracks
)
SELECT path, track_id, person, seen_s, movements_measured_s,
    CASE WHEN measured_s > 0 THEN coalesce(blinks, 0) END AS n_blinks,
    coalesce(blinks, 0) / (measured_s / 60) AS blinks_per_min, blink_median_s,
    CASE WHEN measured_s > 0 THEN coalesce(speaking, 0) END AS speaking_s,
    coalesce(speaking, 0) / measured_s AS speaking_share,
    CASE WHEN measured_s > 0 THEN coalesce(nods, 0) END AS n_nods,
    CASE WHEN measured_s > 0 THEN coalesce(head_shakes, 0) END AS n_head_shakes
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
    JOIN measured USING (video_id, analysis_id, track_id) LEFT JOIN counted USING (video_id, analysis_id, track_id)
ORDER BY path, video_id, track_id

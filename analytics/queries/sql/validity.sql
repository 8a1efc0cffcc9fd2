-- How far the results of each person can be trusted: how much of the time the face was visible, of good quality, left out
-- by --speech and labeled, the main reason for low quality, how far the head was turned, how often the label changed in
-- observed_s (the labeled time with gaps of up to 1 s in a shot), and
-- the share of the labeled time with measured mouth movement, and of that of each emotion, in intervals of speaking-like
-- mouth movement (NULL if nothing was measured).
-- The head turn is head_yaw_deg, or the rougher yaw_deg where the landmarks do not pass the quality filter.
WITH turned AS (
    SELECT video_id, analysis_id, track_id, quality_reason,
        landmark_score >= CAST(settings ->> '$.timeline.quality.min_landmark_score' AS DOUBLE) AS has_landmarks,
        abs(coalesce(CASE WHEN has_landmarks THEN head_yaw_deg END, yaw_deg)) AS turn_deg
    FROM visible('faces') JOIN (SELECT video_id, analysis_id, settings FROM videos) USING (video_id, analysis_id)
    WHERE video_id IN ($videos) AND track_id IS NOT NULL
), posed AS (
    SELECT video_id, analysis_id, track_id,
        mode(quality_reason) FILTER (NOT left_out_by_speech(quality_reason)) AS main_reason,
        quantile_cont(turn_deg, 0.5) AS yaw_median_deg, quantile_cont(turn_deg, 0.9) AS yaw_p90_deg
    FROM turned GROUP BY ALL
), spoken AS (
    SELECT video_id, analysis_id, track_id, coalesce('speaking_' || smooth_emotion, 'speaking_labelled') AS name,
        sum(duration_s) FILTER (is_speaking) AS speaking_s, coalesce(speaking_s, 0) / nullif(sum(duration_s), 0) AS share
    FROM visible('faces') WHERE video_id IN ($videos) AND smooth_emotion IS NOT NULL AND is_speaking IS NOT NULL
    GROUP BY GROUPING SETS ((video_id, analysis_id, track_id), (video_id, analysis_id, track_id, smooth_emotion))
), speaking AS (
    PIVOT spoken ON name IN (
        'speaking_labelled', 'speaking_angry', 'speaking_disgust', 'speaking_fear', 'speaking_happy', 'speaking_sad',
        'speaking_surprise', 'speaking_neutral'
    ) USING any_value(share) GROUP BY video_id, analysis_id, track_id
), changed AS (
    SELECT video_id, analysis_id, track_id, sum(count) AS n_changes FROM transitions WHERE video_id IN ($videos) GROUP BY ALL
), observed AS (
    SELECT * FROM observed_time() WHERE video_id IN ($videos)
)
SELECT video_id, path, track_id, person, seen_s, seen_s / nullif(end_s - start_s, 0) AS seen_share,
    least((ok_s + left_out_s) / nullif(seen_s, 0), 1) AS good_share, left_out_s / nullif(seen_s, 0) AS left_out_share,
    labelled_s / nullif(seen_s, 0) AS labelled_share, carried_s / nullif(labelled_s, 0) AS carried_share, main_reason,
    yaw_median_deg, yaw_p90_deg, transitions_s AS observed_s,
    coalesce(n_changes, 0)::DOUBLE / nullif(observed_s / 60, 0) AS changes_per_min,
    COLUMNS('^speaking_'), suspected_switch
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
    LEFT JOIN posed USING (video_id, analysis_id, track_id)
    LEFT JOIN speaking USING (video_id, analysis_id, track_id)
    LEFT JOIN changed USING (video_id, analysis_id, track_id)
    LEFT JOIN observed USING (video_id, analysis_id, track_id)
WHERE video_id IN ($videos)
ORDER BY path, video_id, track_id

-- How far the results of each person can be trusted: how much of the time the face was visible, of good quality and
-- labeled, the main reason for low quality, how far the head was turned, how often the label changed, and the share of
-- the labeled time with measured mouth movement, and of that of each emotion, in intervals of speaking-like mouth
-- movement (NULL if nothing was measured).
WITH posed AS (
    SELECT video_id, analysis_id, track_id, mode(quality_reason) AS main_reason,
        quantile_cont(abs(yaw_deg), 0.5) AS yaw_median_deg, quantile_cont(abs(yaw_deg), 0.9) AS yaw_p90_deg
    FROM visible('faces') WHERE track_id IS NOT NULL GROUP BY ALL
), labeled AS (
    SELECT video_id, analysis_id, track_id, smooth_emotion, duration_s, duration_s * is_speaking::INT AS speaking_s
    FROM visible('faces') WHERE smooth_emotion IS NOT NULL AND is_speaking IS NOT NULL
), spoken AS (
    SELECT video_id, analysis_id, track_id, sum(speaking_s) / nullif(sum(duration_s), 0) AS speaking_share,
        sum(speaking_s) FILTER (smooth_emotion = 'angry')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'angry'), 0) AS speaking_angry,
        sum(speaking_s) FILTER (smooth_emotion = 'disgust')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'disgust'), 0) AS speaking_disgust,
        sum(speaking_s) FILTER (smooth_emotion = 'fear')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'fear'), 0) AS speaking_fear,
        sum(speaking_s) FILTER (smooth_emotion = 'happy')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'happy'), 0) AS speaking_happy,
        sum(speaking_s) FILTER (smooth_emotion = 'sad')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'sad'), 0) AS speaking_sad,
        sum(speaking_s) FILTER (smooth_emotion = 'surprise')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'surprise'), 0) AS speaking_surprise,
        sum(speaking_s) FILTER (smooth_emotion = 'neutral')
            / nullif(sum(duration_s) FILTER (smooth_emotion = 'neutral'), 0) AS speaking_neutral
    FROM labeled GROUP BY ALL
), changed AS (
    SELECT video_id, analysis_id, track_id, sum(count) AS n_changes FROM transitions GROUP BY ALL
)
SELECT path, track_id, person, seen_s, seen_s / nullif(end_s - start_s, 0) AS seen_share, ok_s / nullif(seen_s, 0) AS good_share,
    labelled_s / nullif(seen_s, 0) AS labelled_share, carried_s / nullif(labelled_s, 0) AS carried_share, main_reason,
    yaw_median_deg, yaw_p90_deg, coalesce(n_changes, 0)::DOUBLE / nullif(labelled_s / 60, 0) AS changes_per_min,
    speaking_share, speaking_angry, speaking_disgust, speaking_fear, speaking_happy,
    speaking_sad, speaking_surprise, speaking_neutral, suspected_switch
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
    LEFT JOIN posed USING (video_id, analysis_id, track_id)
    LEFT JOIN spoken USING (video_id, analysis_id, track_id)
    LEFT JOIN changed USING (video_id, analysis_id, track_id)
ORDER BY path, track_id

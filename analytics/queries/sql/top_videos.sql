-- The videos with the episodes of $emotion that have the highest peaks.
SELECT DISTINCT video_id
FROM (
    SELECT video_id FROM visible('episodes') WHERE emotion = $emotion
    ORDER BY round(peak, 2) DESC, duration_s DESC, video_id, start_s, track_id LIMIT $limit
)

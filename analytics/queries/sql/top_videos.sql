-- The videos with the episodes in which $emotion is shown most clearly.
SELECT DISTINCT video_id
FROM (SELECT video_id FROM episodes WHERE emotion = $emotion ORDER BY peak DESC, video_id, start_s LIMIT $limit)

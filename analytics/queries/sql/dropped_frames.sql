-- The frames of those live sessions ($videos) that dropped some, because processing fell behind.
WITH sessions AS (
    SELECT count(*) FILTER (status <> 'no_signal') AS n_frames, count(*) FILTER (status = 'dropped') AS n_dropped
    FROM frames WHERE video_id IN ($videos) GROUP BY video_id, analysis_id
)
SELECT count(*) AS n_sessions, sum(n_frames)::BIGINT AS n_frames, sum(n_dropped)::BIGINT AS n_dropped
FROM sessions WHERE n_dropped > 0

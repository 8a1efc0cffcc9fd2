-- Files that could not be analyzed, later runs that failed, and frames that could not be decoded.
WITH undecoded AS (
    SELECT video_id, analysis_id, count(*) AS n FROM frames WHERE status = 'decode_error' GROUP BY ALL
)
SELECT path, status, error, coalesce(n, 0) AS n_undecoded_frames
FROM videos LEFT JOIN undecoded USING (video_id, analysis_id)
WHERE error IS NOT NULL OR n > 0
ORDER BY status DESC, path

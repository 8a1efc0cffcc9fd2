-- For each person (track): the time in which episodes, and transitions, could be counted.
SELECT video_id, track_id, episodes_s, transitions_s
FROM observed_time() JOIN videos USING (video_id, analysis_id)
WHERE video_id IN ($videos)
ORDER BY path, video_id, track_id

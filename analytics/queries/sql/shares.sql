-- For each video and person (track): which share of the time with a label shows which emotion.
-- n_gated of the n_faces are of low quality; smoothing gives them a label only from good faces near by.
SELECT path, track_id, labelled_s, n_faces, n_faces - n_faces_ok AS n_gated, COLUMNS('^share_(.*)$') AS '\1'
FROM tracks JOIN videos USING (video_id, analysis_id)
ORDER BY path, track_id

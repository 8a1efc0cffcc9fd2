-- For each video and person (track): which share of the time with a label shows which emotion.
-- People who were hidden in the dashboard are left out.
-- n_gated of the n_faces are of low quality; smoothing gives them a label only from good faces near by.
SELECT path, track_id, labelled_s, n_faces, n_faces - n_faces_ok AS n_gated, COLUMNS('^share_(.*)$') AS '\1'
FROM tracks JOIN videos USING (video_id, analysis_id)
WHERE NOT EXISTS (
    FROM noted_people
    WHERE is_hidden AND noted_people.video_id = tracks.video_id AND noted_people.track_id = tracks.track_id
)
ORDER BY path, track_id

-- For each video and person (track): the share of labeled time that shows each emotion. Hidden people are left out.
-- n_low_quality of the n_faces are of low quality, with a label only near good faces of the same person.
SELECT video_id, path, track_id, person, labelled_s, n_faces, n_faces - n_faces_ok - n_faces_left_out AS n_low_quality,
    COLUMNS('^share_(.*)$') AS '\1'
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
ORDER BY path, video_id, track_id

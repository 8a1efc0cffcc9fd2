-- The episodes in which $emotion is shown most clearly, with a link to its height: path#t=seconds is a media fragment
-- (https://www.w3.org/TR/media-frags/), which browsers and some players follow.
SELECT path, track_id, start_s, apex_s, end_s, peak, n_faces, n_faces - n_faces_ok AS n_gated,
    printf('%s#t=%.2f', path, apex_s) AS link
FROM (
    SELECT video_id, analysis_id, track_id, start_s, apex_s, end_s, peak
    FROM episodes
    WHERE emotion = $emotion
    ORDER BY peak DESC, video_id, start_s
    LIMIT $limit
)
JOIN (SELECT video_id, analysis_id, track_id, n_faces, n_faces_ok FROM tracks) USING (video_id, analysis_id, track_id)
JOIN videos USING (video_id, analysis_id)
ORDER BY peak DESC, path, start_s

-- Common questions about results. Each has a title, optionally a note, and one SELECT; an empty line separates them.
-- docs/cookbook.md shows their results for the demo clips; the SQL page of the dashboard offers them, too.

-- Which videos were analyzed, and which failed?
SELECT parse_filename(path) AS video, status, error, duration_s, n_frames, width_px, height_px
FROM videos
ORDER BY video

-- For which share of each video is a face in view?
-- Time without a frame (dropped frames, frames that could not be decoded, no signal) counts neither way.
SELECT parse_filename(path) AS video, sum(frames.duration_s) FILTER (n_faces IS NOT NULL) AS seen_s,
    coalesce(sum(frames.duration_s) FILTER (n_faces > 0), 0) / seen_s AS share_with_face, max(n_faces) AS most_faces
FROM frames JOIN videos USING (video_id)
GROUP BY video_id, video
ORDER BY video

-- Which emotion does each person show most, and for how long do they have a label?
SELECT parse_filename(path) AS video, track_id, emotion, labelled_s, n_faces,
    n_faces - n_faces_ok - n_faces_left_out AS n_low_quality
FROM tracks JOIN videos USING (video_id)
ORDER BY video, track_id

-- What is each person's share of time per emotion?
SELECT parse_filename(path) AS video, track_id, COLUMNS('^share_(.*)$') AS '\1'
FROM tracks JOIN videos USING (video_id)
ORDER BY video, track_id

-- When does each person start and stop smiling?
SELECT parse_filename(path) AS video, track_id, start_s, end_s, episodes.duration_s
FROM episodes JOIN videos USING (video_id)
WHERE emotion = 'happy' AND episodes.duration_s > 1 - 1e-6
ORDER BY video, start_s

-- How do one person's probabilities change, second by second?
-- `time_bins` lists the bins of 1000 ms in which a frame is shown, `seconds_in_bin` is its time in one of them. Replace the
-- name of the video.
WITH shown AS (
    SELECT smooth_happy, smooth_neutral, unnest(time_bins(pts_s, pts_s + faces.duration_s, 1000)) AS second,
        seconds_in_bin(pts_s, pts_s + faces.duration_s, second, 1000) AS shown_s
    FROM faces JOIN videos USING (video_id)
    WHERE path LIKE '%two_people_pan.mp4' AND track_id = 0 AND smooth_emotion IS NOT NULL
)
SELECT second, sum(smooth_happy * shown_s) / sum(shown_s) AS happy,
    sum(smooth_neutral * shown_s) / sum(shown_s) AS neutral, count(*) AS n_faces
FROM shown
GROUP BY second
ORDER BY second

-- Which emotions does the whole library show?
SELECT smooth_emotion AS emotion, sum(duration_s) AS labelled_s,
    labelled_s / sum(labelled_s) OVER () AS share, count(DISTINCT video_id) AS n_videos
FROM faces
WHERE smooth_emotion IS NOT NULL
GROUP BY smooth_emotion
ORDER BY labelled_s DESC

-- When does happiness peak, with a link to the moment?
-- A media fragment (`#t=seconds`) opens the video at this time in a browser.
SELECT track_id, peak, printf('%s#t=%.3f', parse_filename(path), ceil(1000 * apex_s) / 1000) AS link
FROM episodes JOIN videos USING (video_id)
WHERE emotion = 'happy'
ORDER BY parse_filename(path), start_s
LIMIT 3

-- How long after appearing does a person first smile?
WITH smiles AS (
    SELECT video_id, track_id, min(start_s) AS smile_s FROM episodes WHERE emotion = 'happy' GROUP BY ALL
)
SELECT parse_filename(path) AS video, track_id, start_s AS appears_s, smile_s - start_s AS until_smile_s
FROM tracks JOIN videos USING (video_id) LEFT JOIN smiles USING (video_id, track_id)
ORDER BY video, track_id

-- What do people show during given intervals, such as an advertisement?
-- A frame that is shown for less than 1 µs of an interval is left out: that is a rounding error of its times.
WITH spans(label, start_s, end_s) AS (VALUES ('intro', 0.0, 2.0), ('ad', 2.0, 4.0))
SELECT label, smooth_emotion AS emotion,
    sum(least(pts_s + faces.duration_s, end_s) - greatest(pts_s, start_s)) AS labelled_s,
    count(DISTINCT (video_id, track_id)) AS n_tracks
FROM faces JOIN spans ON pts_s < end_s - 1e-6 AND pts_s + faces.duration_s > start_s + 1e-6
WHERE smooth_emotion IS NOT NULL
GROUP BY ALL
ORDER BY label DESC, labelled_s DESC

-- While two people are in view, how often do they show the same emotion?
SELECT parse_filename(path) AS video, a.track_id AS one, b.track_id AS other, sum(a.duration_s) AS together_s,
    coalesce(sum(a.duration_s) FILTER (a.smooth_emotion = b.smooth_emotion), 0) / together_s AS share_same
FROM faces a
JOIN faces b ON a.video_id = b.video_id AND a.frame_index = b.frame_index AND a.track_id < b.track_id
JOIN videos ON videos.video_id = a.video_id
WHERE a.smooth_emotion IS NOT NULL AND b.smooth_emotion IS NOT NULL
GROUP BY a.video_id, video, one, other
ORDER BY video, one, other

-- How often does each person blink, and for which share of time do they seem to speak?
-- Of the time in which movements were measured; NULL if they were not. Rates over less than a minute are rough. The demo
-- clips show photographs, which do neither.
WITH counted AS (
    SELECT video_id, track_id, count(*) FILTER (kind = 'blink') AS blinks,
        sum(duration_s) FILTER (kind = 'speaking') AS speaking_s
    FROM movements
    GROUP BY ALL
)
SELECT parse_filename(path) AS video, track_id, movements_measured_s AS measured_s,
    coalesce(blinks, 0) / nullif(measured_s / 60, 0) AS blinks_per_min,
    coalesce(speaking_s, 0) / nullif(measured_s, 0) AS share_speaking
FROM tracks JOIN videos USING (video_id) LEFT JOIN counted USING (video_id, track_id)
ORDER BY video, track_id

-- Do people show other emotions while they seem to speak?
-- The share of each label in the time with and without speaking-like mouth movement, where that was measured.
SELECT smooth_emotion AS label, coalesce(sum(duration_s) FILTER (is_speaking), 0) AS speaking_s,
    coalesce(sum(duration_s) FILTER (NOT is_speaking), 0) AS silent_s,
    speaking_s / nullif(sum(speaking_s) OVER (), 0) AS share_speaking,
    silent_s / nullif(sum(silent_s) OVER (), 0) AS share_silent
FROM faces
WHERE smooth_emotion IS NOT NULL AND is_speaking IS NOT NULL
GROUP BY label
ORDER BY label

-- Where are the cuts?
SELECT parse_filename(path) AS video, pts_s AS cut_s
FROM frames JOIN videos USING (video_id)
WHERE is_cut AND pts_s > 0
ORDER BY video, cut_s

-- How many faces are of low quality, and why?
SELECT parse_filename(path) AS video, quality_reason, count(*) AS n_faces, sum(faces.duration_s) AS seen_s
FROM faces JOIN videos USING (video_id)
WHERE NOT quality_ok AND NOT left_out_by_speech(quality_reason)
GROUP BY video_id, video, quality_reason
ORDER BY video, quality_reason

-- Would the shares differ without the quality filter?
SELECT unfiltered_emotion AS label,
    sum(duration_s) FILTER (smooth_emotion IS NOT NULL) AS labelled_s, sum(duration_s) AS all_faces_s,
    count(*) FILTER (NOT quality_ok) AS n_low_quality
FROM unfiltered_faces()
WHERE track_id IS NOT NULL AND unfiltered_emotion IS NOT NULL
GROUP BY label
ORDER BY label

-- How certain is the model?
-- Entropy is 0 bit if the model is certain and 2.81 bit if all emotions are equally likely (3 with p_other).
SELECT smooth_emotion AS emotion, sum(p_max * duration_s) / sum(duration_s) AS mean_p_max,
    sum(entropy * duration_s) / sum(duration_s) AS mean_entropy_bit, count(*) AS n_faces
FROM faces
WHERE quality_ok AND smooth_emotion IS NOT NULL
GROUP BY ALL
ORDER BY emotion

-- Which people should be checked manually?
SELECT parse_filename(path) AS video, track_id, seen_s,
    (n_faces_ok + n_faces_left_out) / n_faces AS share_ok, mean_face_px, suspected_switch
FROM tracks JOIN videos USING (video_id)
WHERE suspected_switch OR share_ok < 0.95 OR mean_face_px < 40
ORDER BY video, track_id

-- Which settings and models produced the results?
SELECT settings->'observe'->>'detector' AS detector, settings->'observe'->>'model' AS model,
    settings->'timeline'->'quality'->>'min_face_px' AS min_face_px, count(*) AS n_videos
FROM videos
WHERE status = 'done'
GROUP BY ALL

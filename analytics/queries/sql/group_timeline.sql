-- Mean smoothed probabilities of groups, in bins of $bin_ms from the start of each span; a video counts once in a bin,
-- however many people or spans it has there. The error is the standard error of the mean over videos, NULL for one;
-- n_people is the number of tracks behind it.
WITH spans AS (
    SELECT unnest($groups) AS "group", unnest($video_ids) AS video_id, unnest($starts_s) AS from_s,
        unnest($ends_s) AS to_s
), of_video AS (
    SELECT "group", video_id, CAST(round((pts_s - from_s) * 1000) AS BIGINT) // $bin_ms AS bin,
        count(DISTINCT track_id) AS n_people,
        sum(smooth_angry * faces.duration_s) / sum(faces.duration_s) AS v_angry,
        sum(smooth_disgust * faces.duration_s) / sum(faces.duration_s) AS v_disgust,
        sum(smooth_fear * faces.duration_s) / sum(faces.duration_s) AS v_fear,
        sum(smooth_happy * faces.duration_s) / sum(faces.duration_s) AS v_happy,
        sum(smooth_sad * faces.duration_s) / sum(faces.duration_s) AS v_sad,
        sum(smooth_surprise * faces.duration_s) / sum(faces.duration_s) AS v_surprise,
        sum(smooth_neutral * faces.duration_s) / sum(faces.duration_s) AS v_neutral
    FROM faces JOIN spans USING (video_id)
    WHERE list_contains($video_ids, video_id) AND smooth_emotion IS NOT NULL AND pts_s >= from_s AND pts_s < to_s
    GROUP BY ALL
)
SELECT "group", bin * $bin_ms / 1000 AS start_s, count(*) AS n_videos, CAST(sum(n_people) AS BIGINT) AS n_people,
    avg(COLUMNS('^v_(.*)$')) AS 'mean_\1',
    stddev_samp(COLUMNS('^v_(.*)$')) / sqrt(count(*)) AS 'error_\1'
FROM of_video
GROUP BY "group", bin
ORDER BY "group", bin

-- Mean smoothed probabilities in bins of $bin_ms, for each video and person, weighted with time; a frame belongs to the
-- bin in which it begins. Bins are counted in whole milliseconds: floor(0.6 / 0.2) is 2.
-- With $gate false, a face that the quality gate left without a smoothed value counts with its own.
WITH binned AS (
    SELECT video_id, analysis_id, track_id, CAST(round(pts_s * 1000) AS BIGINT) // $bin_ms AS bin, quality_ok,
        CASE WHEN $gate THEN smooth_angry ELSE coalesce(smooth_angry, p_angry) END AS angry,
        CASE WHEN $gate THEN smooth_disgust ELSE coalesce(smooth_disgust, p_disgust) END AS disgust,
        CASE WHEN $gate THEN smooth_fear ELSE coalesce(smooth_fear, p_fear) END AS fear,
        CASE WHEN $gate THEN smooth_happy ELSE coalesce(smooth_happy, p_happy) END AS happy,
        CASE WHEN $gate THEN smooth_sad ELSE coalesce(smooth_sad, p_sad) END AS sad,
        CASE WHEN $gate THEN smooth_surprise ELSE coalesce(smooth_surprise, p_surprise) END AS surprise,
        CASE WHEN $gate THEN smooth_neutral ELSE coalesce(smooth_neutral, p_neutral) END AS neutral,
        CASE WHEN neutral IS NOT NULL THEN duration_s END AS labelled_s
    FROM faces
    WHERE track_id IS NOT NULL
)
SELECT path, track_id, bin * $bin_ms / 1000 AS start_s, sum(binned.labelled_s) AS labelled_s, count(*) AS n_faces,
    count(*) FILTER (NOT quality_ok) AS n_gated,
    sum(angry * binned.labelled_s) / sum(binned.labelled_s) AS angry,
    sum(disgust * binned.labelled_s) / sum(binned.labelled_s) AS disgust,
    sum(fear * binned.labelled_s) / sum(binned.labelled_s) AS fear,
    sum(happy * binned.labelled_s) / sum(binned.labelled_s) AS happy,
    sum(sad * binned.labelled_s) / sum(binned.labelled_s) AS sad,
    sum(surprise * binned.labelled_s) / sum(binned.labelled_s) AS surprise,
    sum(neutral * binned.labelled_s) / sum(binned.labelled_s) AS neutral
FROM binned JOIN videos USING (video_id, analysis_id)
GROUP BY path, track_id, bin
ORDER BY path, track_id, bin

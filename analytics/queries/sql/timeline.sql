-- Mean smoothed probabilities in bins of $bin_ms, for each video and person, weighted with the time for which a frame is
-- shown in the bin. A face that is shown in several bins is one of the n_faces of each.
-- With $all_faces, a low-quality face without a smoothed value counts with its own; one that --speech leaves out does not.
-- Means have four digits, about as many as the values of the table; seconds have three.
WITH shown AS (
    SELECT *, pts_s + duration_s AS end_s, unnest(time_bins(pts_s, end_s, $bin_ms)) AS bin
    FROM unfiltered_faces()
    WHERE track_id IS NOT NULL
), binned AS (
    SELECT video_id, analysis_id, track_id, bin,
        NOT quality_ok AND NOT left_out_by_speech(quality_reason) AS is_low,
        CASE WHEN $all_faces THEN unfiltered_angry ELSE smooth_angry END AS angry,
        CASE WHEN $all_faces THEN unfiltered_disgust ELSE smooth_disgust END AS disgust,
        CASE WHEN $all_faces THEN unfiltered_fear ELSE smooth_fear END AS fear,
        CASE WHEN $all_faces THEN unfiltered_happy ELSE smooth_happy END AS happy,
        CASE WHEN $all_faces THEN unfiltered_sad ELSE smooth_sad END AS sad,
        CASE WHEN $all_faces THEN unfiltered_surprise ELSE smooth_surprise END AS surprise,
        CASE WHEN $all_faces THEN unfiltered_neutral ELSE smooth_neutral END AS neutral,
        CASE WHEN neutral IS NOT NULL THEN seconds_in_bin(pts_s, end_s, bin, $bin_ms) END AS labelled_s
    FROM shown
)
SELECT path, track_id, bin * $bin_ms / 1000 AS start_s, round(sum(binned.labelled_s), 3) AS labelled_s, count(*) AS n_faces,
    count(*) FILTER (is_low) AS n_low_quality,
    round(sum(angry * binned.labelled_s) / sum(binned.labelled_s), 4) AS angry,
    round(sum(disgust * binned.labelled_s) / sum(binned.labelled_s), 4) AS disgust,
    round(sum(fear * binned.labelled_s) / sum(binned.labelled_s), 4) AS fear,
    round(sum(happy * binned.labelled_s) / sum(binned.labelled_s), 4) AS happy,
    round(sum(sad * binned.labelled_s) / sum(binned.labelled_s), 4) AS sad,
    round(sum(surprise * binned.labelled_s) / sum(binned.labelled_s), 4) AS surprise,
    round(sum(neutral * binned.labelled_s) / sum(binned.labelled_s), 4) AS neutral
FROM binned JOIN videos USING (video_id, analysis_id)
GROUP BY video_id, path, track_id, bin
ORDER BY path, video_id, track_id, bin

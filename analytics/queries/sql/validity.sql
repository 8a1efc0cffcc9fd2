-- How far the results of each person can be trusted: how much of the time the face was visible, of good quality and
-- labeled, the main reason for low quality, how far the head was turned, and how often the label changed.
WITH posed AS (
    SELECT video_id, analysis_id, track_id, mode(quality_reason) AS main_reason,
        quantile_cont(abs(yaw_deg), 0.5) AS yaw_median_deg, quantile_cont(abs(yaw_deg), 0.9) AS yaw_p90_deg
    FROM visible('faces') WHERE track_id IS NOT NULL GROUP BY ALL
), changed AS (
    SELECT video_id, analysis_id, track_id, sum(count) AS n_changes FROM transitions GROUP BY ALL
)
SELECT path, track_id, person, seen_s, seen_s / nullif(end_s - start_s, 0) AS seen_share, ok_s / nullif(seen_s, 0) AS good_share,
    labelled_s / nullif(seen_s, 0) AS labelled_share, carried_s / nullif(labelled_s, 0) AS carried_share, main_reason,
    yaw_median_deg, yaw_p90_deg, coalesce(n_changes, 0)::DOUBLE / nullif(labelled_s / 60, 0) AS changes_per_min,
    suspected_switch
FROM visible('tracks') JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
    LEFT JOIN posed USING (video_id, analysis_id, track_id)
    LEFT JOIN changed USING (video_id, analysis_id, track_id)
ORDER BY path, track_id

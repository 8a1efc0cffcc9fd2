-- The episodes of $emotion with the highest peaks, with a link to the peak: path#t=seconds is a media fragment
-- (https://www.w3.org/TR/media-frags/), which browsers and some players support; the path is escaped as in a URL, and the
-- time is rounded up, so that it is not in the frame before.
-- n_low_quality of the n_faces of the episode are of low quality. $videos are the videos of the episodes
-- (top_videos.sql), so that only their faces are read.
-- Many peaks are 1.00: episodes with equal rounded peaks are ordered by duration, the longest first.
WITH top AS MATERIALIZED (
    SELECT video_id, analysis_id, track_id, start_s, apex_s, end_s, duration_s, peak
    FROM visible('episodes')
    WHERE emotion = $emotion
    ORDER BY round(peak, 2) DESC, duration_s DESC, video_id, start_s, track_id
    LIMIT $limit
), seen AS (
    SELECT video_id, analysis_id, track_id, start_s, count(*) AS n_faces,
        count(*) FILTER (NOT quality_ok AND NOT left_out_by_speech(quality_reason)) AS n_low_quality
    FROM (SELECT video_id, analysis_id, track_id, pts_s, quality_ok, quality_reason FROM faces WHERE video_id IN ($videos))
    JOIN top USING (video_id, analysis_id, track_id)
    WHERE pts_s >= start_s AND pts_s < end_s
    GROUP BY ALL
)
SELECT path, track_id, person, start_s, apex_s, end_s, peak, n_faces, n_low_quality,
    printf('%s#t=%.3f', replace(replace(url_encode(path), '%2F', '/'), '%3A', ':'), ceil(1000 * apex_s) / 1000) AS link
FROM top JOIN seen USING (video_id, analysis_id, track_id, start_s) JOIN videos USING (video_id, analysis_id)
    JOIN people USING (video_id, analysis_id, track_id)
ORDER BY round(peak, 2) DESC, top.duration_s DESC, path, start_s, track_id

-- Mean smoothed probabilities of each participant in each of the videos ($videos), in bins of $bin_ms from the start of each
-- interval of a group, without hidden people. They are weighted with the time for which a frame is shown in the bin.
-- The participant of each visible track is given ($track_videos, $track_ids, $participants). n_people is the number of tracks.
WITH spans AS (
    SELECT unnest($groups::VARCHAR[]) AS "group", unnest($span_videos::VARCHAR[]) AS video_id,
        unnest($starts_s::DOUBLE[]) AS from_s, unnest($ends_s::DOUBLE[]) AS to_s
), participants AS (
    SELECT unnest($track_videos::VARCHAR[]) AS video_id, unnest($track_ids::INTEGER[]) AS track_id,
        unnest($participants::VARCHAR[]) AS participant
), shown AS (
    SELECT *, greatest(pts_s, from_s) - from_s AS start_s, least(pts_s + duration_s, to_s) - from_s AS end_s,
        unnest(time_bins(start_s, end_s, $bin_ms)) AS bin, seconds_in_bin(start_s, end_s, bin, $bin_ms) AS shown_s
    FROM visible('faces') JOIN spans USING (video_id)
    WHERE video_id IN ($videos) AND smooth_emotion IS NOT NULL AND pts_s < to_s AND pts_s + duration_s > from_s
)
SELECT "group", video_id, participant, bin, count(DISTINCT track_id) AS n_people,
    sum(smooth_angry * shown_s) / sum(shown_s) AS v_angry,
    sum(smooth_disgust * shown_s) / sum(shown_s) AS v_disgust,
    sum(smooth_fear * shown_s) / sum(shown_s) AS v_fear,
    sum(smooth_happy * shown_s) / sum(shown_s) AS v_happy,
    sum(smooth_sad * shown_s) / sum(shown_s) AS v_sad,
    sum(smooth_surprise * shown_s) / sum(shown_s) AS v_surprise,
    sum(smooth_neutral * shown_s) / sum(shown_s) AS v_neutral
FROM shown JOIN participants USING (video_id, track_id)
WHERE shown_s > 0
GROUP BY ALL

-- Mean smoothed probabilities of each participant in each of the videos ($videos), in bins of $bin_ms from the start of each
-- interval of a group, without hidden people. They are weighted with the time for which a frame is shown in the bin.
-- A video may be given a participant. In all other videos, people who were named are participants, and the unnamed
-- people of a video count together as one. n_people is the number of tracks.
WITH spans AS (
    SELECT unnest($groups::VARCHAR[]) AS "group", unnest($span_videos::VARCHAR[]) AS video_id,
        unnest($starts_s::DOUBLE[]) AS from_s, unnest($ends_s::DOUBLE[]) AS to_s
), given AS (
    SELECT unnest($given_videos::VARCHAR[]) AS video_id, unnest($given_participants::VARCHAR[]) AS given_participant
), shown AS (
    SELECT *, greatest(pts_s, from_s) - from_s AS start_s, least(pts_s + duration_s, to_s) - from_s AS end_s,
        unnest(time_bins(start_s, end_s, $bin_ms)) AS bin, seconds_in_bin(start_s, end_s, bin, $bin_ms) AS shown_s
    FROM visible('faces') JOIN spans USING (video_id)
    WHERE video_id IN ($videos) AND smooth_emotion IS NOT NULL AND pts_s < to_s AND pts_s + duration_s > from_s
)
SELECT "group", video_id, coalesce(given_participant, CASE WHEN is_named THEN participant ELSE video_id END) AS participant,
    bin, count(DISTINCT track_id) AS n_people,
    sum(smooth_angry * shown_s) / sum(shown_s) AS v_angry,
    sum(smooth_disgust * shown_s) / sum(shown_s) AS v_disgust,
    sum(smooth_fear * shown_s) / sum(shown_s) AS v_fear,
    sum(smooth_happy * shown_s) / sum(shown_s) AS v_happy,
    sum(smooth_sad * shown_s) / sum(shown_s) AS v_sad,
    sum(smooth_surprise * shown_s) / sum(shown_s) AS v_surprise,
    sum(smooth_neutral * shown_s) / sum(shown_s) AS v_neutral
FROM shown JOIN people USING (video_id, analysis_id, track_id) LEFT JOIN given USING (video_id)
WHERE shown_s > 0
GROUP BY ALL

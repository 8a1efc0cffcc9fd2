-- The duration of the episodes of each emotion.
SELECT emotion, count(*) AS n_episodes, count(DISTINCT (video_id, track_id)) AS n_tracks,
    count(DISTINCT video_id) AS n_videos, sum(duration_s) AS total_s, avg(duration_s) AS mean_s,
    median(duration_s) AS median_s, max(duration_s) AS longest_s
FROM visible('episodes')
GROUP BY emotion
ORDER BY total_s DESC, emotion

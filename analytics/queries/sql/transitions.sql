-- Changes from one emotion to another: how many, and their share of all changes away from the first.
SELECT from_emotion, to_emotion, CAST(sum(count) AS BIGINT) AS n_changes,
    n_changes / sum(n_changes) OVER (PARTITION BY from_emotion) AS share,
    count(DISTINCT (video_id, track_id)) AS n_tracks, count(DISTINCT video_id) AS n_videos
FROM visible('transitions')
GROUP BY from_emotion, to_emotion
ORDER BY n_changes DESC, from_emotion, to_emotion

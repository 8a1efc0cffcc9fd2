-- The whole library: time with each label, its share of all time with a label, and how many people and videos show it.
WITH shown AS (
    SELECT video_id, emotion, share * track_s AS emotion_s
    FROM (
        UNPIVOT (SELECT video_id, labelled_s AS track_s, COLUMNS('^share_(.*)$') AS '\1' FROM visible('tracks'))
        ON angry, disgust, fear, happy, sad, surprise, neutral INTO NAME emotion VALUE share
    )
)
SELECT emotion, sum(emotion_s) AS labelled_s, labelled_s / nullif(sum(labelled_s) OVER (), 0) AS share,
    count(*) FILTER (emotion_s > 0) AS n_tracks, count(DISTINCT video_id) FILTER (emotion_s > 0) AS n_videos
FROM shown
GROUP BY emotion
ORDER BY labelled_s DESC, emotion

-- Still images ($videos), which have no time: the share of the good faces of each image that show each emotion.
-- labelled_s, the weight of a row, is the number of these faces. With $all_faces, low-quality faces count, too.
WITH stills AS (
    SELECT video_id, analysis_id, emotion, quality_ok,
        emotion IS NOT NULL AND ($all_faces OR quality_ok OR settings ->> '$.timeline.quality.gate' = 'false') AS counts
    FROM faces JOIN videos USING (video_id, analysis_id)
    WHERE video_id IN ($videos) AND is_still_image(videos.duration_s, live_since)
)
SELECT video_id, NULL::INT AS track_id, count(*) FILTER (counts) AS labelled_s, count(*) AS n_faces,
    count(*) FILTER (NOT quality_ok) AS n_low_quality,
    count(*) FILTER (counts AND emotion = 'angry') / labelled_s AS angry,
    count(*) FILTER (counts AND emotion = 'disgust') / labelled_s AS disgust,
    count(*) FILTER (counts AND emotion = 'fear') / labelled_s AS fear,
    count(*) FILTER (counts AND emotion = 'happy') / labelled_s AS happy,
    count(*) FILTER (counts AND emotion = 'sad') / labelled_s AS sad,
    count(*) FILTER (counts AND emotion = 'surprise') / labelled_s AS surprise,
    count(*) FILTER (counts AND emotion = 'neutral') / labelled_s AS neutral
FROM stills
GROUP BY video_id
HAVING labelled_s > 0
ORDER BY video_id

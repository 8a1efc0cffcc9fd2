-- Like shares.sql, but over all faces: a low-quality face without a label counts with the emotion of its own frame.
-- Faces that --speech leaves out are counted as faces only.
WITH labeled AS (
    SELECT video_id, analysis_id, track_id, duration_s, NOT quality_ok AND NOT left_out_by_speech(quality_reason) AS is_low,
        unfiltered_emotion AS label
    FROM unfiltered_faces()
    WHERE track_id IS NOT NULL
)
SELECT video_id, path, track_id, person, sum(labeled.duration_s) FILTER (label IS NOT NULL) AS labelled_s,
    count(*) AS n_faces, count(*) FILTER (is_low) AS n_low_quality,
    coalesce(sum(labeled.duration_s) FILTER (label = 'angry'), 0) / labelled_s AS angry,
    coalesce(sum(labeled.duration_s) FILTER (label = 'disgust'), 0) / labelled_s AS disgust,
    coalesce(sum(labeled.duration_s) FILTER (label = 'fear'), 0) / labelled_s AS fear,
    coalesce(sum(labeled.duration_s) FILTER (label = 'happy'), 0) / labelled_s AS happy,
    coalesce(sum(labeled.duration_s) FILTER (label = 'sad'), 0) / labelled_s AS sad,
    coalesce(sum(labeled.duration_s) FILTER (label = 'surprise'), 0) / labelled_s AS surprise,
    coalesce(sum(labeled.duration_s) FILTER (label = 'neutral'), 0) / labelled_s AS neutral
FROM labeled JOIN videos USING (video_id, analysis_id) JOIN people USING (video_id, analysis_id, track_id)
GROUP BY video_id, path, track_id, person
ORDER BY path, video_id, track_id

-- Share of labeled time of each emotion over good faces, and over all faces: low-quality faces without a label then
-- count with the emotion of their own frame. Faces that --speech leaves out count in neither.
WITH labeled AS (
    SELECT smooth_emotion, unfiltered_emotion, quality_ok, duration_s
    FROM unfiltered_faces() WHERE track_id IS NOT NULL AND duration_s IS NOT NULL
), of_good AS (
    SELECT smooth_emotion AS emotion, sum(duration_s) AS labelled_s
    FROM labeled WHERE smooth_emotion IS NOT NULL GROUP BY ALL
), of_all AS (
    SELECT unfiltered_emotion AS emotion, sum(duration_s) AS all_faces_s, count(*) AS n_faces,
        count(*) FILTER (NOT quality_ok) AS n_low_quality
    FROM labeled WHERE unfiltered_emotion IS NOT NULL GROUP BY ALL
)
SELECT emotion, coalesce(of_good.labelled_s, 0) AS labelled_s, all_faces_s,
    coalesce(of_good.labelled_s / sum(of_good.labelled_s) OVER (), 0) AS share,
    all_faces_s / sum(all_faces_s) OVER () AS share_all_faces, n_faces, n_low_quality
FROM of_all LEFT JOIN of_good USING (emotion)
ORDER BY all_faces_s DESC, emotion

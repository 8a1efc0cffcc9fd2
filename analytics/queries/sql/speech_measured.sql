-- For each setting of --speech other than include: the time with good faces of people in the videos ($videos), and how
-- much of it was not measured, so that it is unknown whether they speak.
SELECT settings ->> '$.timeline.quality.speech' AS speech, coalesce(sum(faces.duration_s), 0) AS good_s,
    coalesce(sum(faces.duration_s) FILTER (is_speaking IS NULL), 0) AS not_measured_s
FROM visible('faces') AS faces JOIN videos USING (video_id, analysis_id)
WHERE video_id IN ($videos) AND speech IN ('exclude', 'only') AND track_id IS NOT NULL
    AND (quality_ok OR left_out_by_speech(quality_reason))
GROUP BY speech
ORDER BY speech

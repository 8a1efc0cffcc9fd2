-- Share of the time with a label that each emotion has with the quality gate, and without it.
WITH labelled AS (
    SELECT smooth_emotion, coalesce(smooth_emotion, emotion) AS ungated, quality_ok, duration_s
    FROM faces
    WHERE track_id IS NOT NULL AND duration_s IS NOT NULL
), gated AS (
    SELECT smooth_emotion AS emotion, sum(duration_s) AS with_gate_s
    FROM labelled WHERE smooth_emotion IS NOT NULL GROUP BY ALL
), ungated AS (
    SELECT ungated AS emotion, sum(duration_s) AS without_gate_s, count(*) AS n_faces,
        count(*) FILTER (NOT quality_ok) AS n_gated
    FROM labelled WHERE ungated IS NOT NULL GROUP BY ALL
)
SELECT emotion, coalesce(with_gate_s, 0) AS with_gate_s, without_gate_s,
    coalesce(with_gate_s / sum(with_gate_s) OVER (), 0) AS share_with_gate,
    without_gate_s / sum(without_gate_s) OVER () AS share_without_gate, n_faces, n_gated
FROM ungated LEFT JOIN gated USING (emotion)
ORDER BY without_gate_s DESC, emotion

-- How many faces passed the quality gate (reason NULL), and why the others did not.
SELECT quality_reason AS reason, count(*) AS n_faces, count(*) / sum(count(*)) OVER () AS share,
    sum(duration_s) AS seen_s
FROM faces
GROUP BY quality_reason
ORDER BY reason NULLS FIRST

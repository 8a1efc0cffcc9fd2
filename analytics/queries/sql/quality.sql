-- How many faces are of good quality, and why the others are not. Hidden people are left out.
SELECT coalesce(quality_reason, 'good') AS reason, count(*) AS n_faces, count(*) / sum(count(*)) OVER () AS share,
    sum(duration_s) AS seen_s
FROM visible('faces')
GROUP BY quality_reason
ORDER BY quality_reason NULLS FIRST

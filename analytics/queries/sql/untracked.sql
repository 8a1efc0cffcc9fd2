-- The time with good faces in the videos ($videos), and the part of it that belongs to no track, without hidden people.
SELECT coalesce(sum(duration_s), 0) AS good_s, coalesce(sum(duration_s) FILTER (track_id IS NULL), 0) AS untracked_s
FROM visible('faces')
WHERE quality_ok AND video_id IN ($videos)

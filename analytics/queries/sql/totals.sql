-- The number of videos (n_images of which are analyzed still images), frames, and tracks and episodes of people who are not hidden; analyzed_s is of the parts of videos between --start and --end.
SELECT (SELECT count(*) FROM videos) AS n_videos, (SELECT count(*) FROM still_images()) AS n_images,
    (SELECT count(*) FROM videos WHERE status = 'failed') AS n_failed,
    (SELECT count(*) FROM videos WHERE status = 'done' AND error IS NOT NULL) AS n_later_runs_failed,
    (SELECT sum(duration_s) FROM videos WHERE status = 'done') AS duration_s,
    (SELECT sum(greatest(least(duration_s, (settings ->> '$.observe.end_s')::DOUBLE)
        - coalesce((settings ->> '$.observe.start_s')::DOUBLE, 0), 0)) FROM videos WHERE status = 'done' AND duration_s IS NOT NULL) AS analyzed_s,
    (SELECT count(*) FROM frames WHERE status NOT IN ('dropped', 'no_signal')) AS n_frames, (SELECT count(*) FROM visible('tracks')) AS n_tracks,
    (SELECT count(*) FROM visible('episodes')) AS n_episodes

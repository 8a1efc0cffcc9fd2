"""Run pass 2 on stored observations. Stored identities allow appearance data to be dropped."""

import pyarrow as pa

from analytics.results.ids import identities_id
from analytics.results.segments import lacks_appearance
from analytics.results.store import Store
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError

NO_APPEARANCE = (
    "its appearance data was deleted, so tracks cannot be associated again: "
    "keep the --max-gap of the analysis, or run fervid analyze --overwrite --keep-appearance; "
    "for results of version 0.1, fervid analyze alone is enough"
)


def build_stored_timeline(
    store: Store,
    video_id: str,
    observation_id: str,
    observations: pa.Table,
    config: TimelineConfig,
    *,
    recompute_identities: bool = False,
    end_s: float | None = None,
) -> Timeline:
    """Build the timeline of a video from its observations.

    Stored identities are reused if the settings of shot detection, tracking and re-identification are unchanged, even
    if appearance data has been dropped. Otherwise identities are computed again, which requires appearance data.

    Args:
        store: the results folder.
        video_id: id of the video.
        observation_id: id of its observations.
        observations: all of them, as the store has them.
        config: the settings.
        recompute_identities: ignore and replace stored identities, as after a new pass 1. They are reused all the same
            if the appearance data is gone: another process has then done this, as for a copy of the same video.
        end_s: see `build_timeline`.

    Raises:
        StoreError: if the disk is full.
        IdentitiesError: if the stored identities belong to other faces, or none are stored and the appearance data was
            dropped.
    """
    identities = identities_id(observation_id, config.identity_settings())
    lost = lacks_appearance(observations)
    known = None if recompute_identities and not lost else store.read_identities(video_id, observation_id, identities)
    if known is None and lost:
        raise IdentitiesError(NO_APPEARANCE)
    timeline = build_timeline(observations, config, known, end_s=end_s)
    if known is None:
        store.write_identities(
            video_id, observation_id, identities, timeline.identities, replace_others=recompute_identities
        )
    return timeline


def knows_identities(store: Store, video_id: str, observation_id: str, config: TimelineConfig) -> bool:
    """Whether identities are stored for these settings, so that appearance data is not needed."""
    identities = identities_id(observation_id, config.identity_settings())
    return store.read_identities(video_id, observation_id, identities) is not None

"""Pass 2 on what a results folder holds: whose face is whose is found once and kept, so that signatures can go."""

import logging

import pyarrow as pa

from analytics.store import Store, identities_id
from analytics.timeline import Timeline, TimelineConfig, build_timeline

log = logging.getLogger(__name__)


def build_stored_timeline(
    store: Store,
    video_id: str,
    observation_id: str,
    observations: pa.Table,
    config: TimelineConfig,
    *,
    anew: bool = False,
) -> Timeline:
    """Build the timeline of a video from its observations.

    With the settings of cuts, tracker and joining of an earlier time, people are those of that time, also if the
    signatures have gone since. With others they are found anew, without looks if the signatures have gone.

    Args:
        store: the results folder.
        video_id: id of the video.
        observation_id: id of its observations.
        observations: all of them, as the store has them.
        config: the settings.
        anew: find out who is who in any case, as after looking at the video again.

    Raises:
        StoreError: if the disk is full.
        IdentitiesError: if what is kept of who is who is of other faces.
    """
    identities = identities_id(observation_id, config.identity_settings())
    known = None if anew else store.read_identities(video_id, observation_id, identities)
    timeline = build_timeline(observations, config, known)
    if known is None:
        store.write_identities(video_id, observation_id, identities, timeline.identities)
    if timeline.joined_by_look is False:
        log.warning("%s: signatures were dropped before, so tracks are joined by place and size alone", video_id)
    return timeline

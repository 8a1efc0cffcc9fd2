"""Pass 2 on what a results folder holds: whose face is whose is found once and kept, so that signatures can go."""

import pyarrow as pa

from analytics.results.ids import identities_id
from analytics.results.store import Store, lacks_appearance
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError

NO_LOOKS = (
    "its signatures, without which tracks cannot be joined anew, were dropped: "
    "leave --max-gap as it was, or run fervid analyze --overwrite --keep-appearance"
)


def build_stored_timeline(
    store: Store,
    video_id: str,
    observation_id: str,
    observations: pa.Table,
    config: TimelineConfig,
    *,
    anew: bool = False,
    end_s: float | None = None,
) -> Timeline:
    """Build the timeline of a video from its observations.

    With the settings of cuts, tracker and joining of an earlier time, people are those of that time, also if the
    signatures have gone since. With others they are found anew, for which the signatures must still be there.

    Args:
        store: the results folder.
        video_id: id of the video.
        observation_id: id of its observations.
        observations: all of them, as the store has them.
        config: the settings.
        anew: find out who is who in any case, as after looking at the video again, and forget what was known of it;
            unless somebody else has done so meanwhile, as with a copy of the same video, and dropped the signatures.
        end_s: see `build_timeline`.

    Raises:
        StoreError: if the disk is full.
        IdentitiesError: if what is kept of who is who is of other faces, or nothing is kept and signatures have gone.
    """
    identities = identities_id(observation_id, config.identity_settings())
    lost = lacks_appearance(observations)
    known = None if anew and not lost else store.read_identities(video_id, observation_id, identities)
    if known is None and lost:
        raise IdentitiesError(NO_LOOKS)
    timeline = build_timeline(observations, config, known, end_s=end_s)
    if known is None:
        store.write_identities(video_id, observation_id, identities, timeline.identities, alone=anew)
    return timeline


def knows_identities(store: Store, video_id: str, observation_id: str, config: TimelineConfig) -> bool:
    """Whether it is known with these settings whose face is whose, so that no signature is needed."""
    identities = identities_id(observation_id, config.identity_settings())
    return store.read_identities(video_id, observation_id, identities) is not None

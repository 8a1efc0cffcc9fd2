"""Everything that can go wrong in the world, as opposed to in the code: told in a line, without a traceback.

By name: their modules take seconds to import, and one imported while an error is being handled may keep that error,
with all that its frames hold, to the very end.
"""

EXPECTED = {
    "analytics.events.EventsError",
    "analytics.exports.ExportError",
    "analytics.groups.GroupError",
    "analytics.identities.IdentitiesError",
    "analytics.places.PlaceError",
    "analytics.purge.PurgeError",
    "analytics.report.ReportError",
    "analytics.sql.QueryError",
    "analytics.store.StoreError",
    "analytics.videos.UnknownVideoError",
    "fer_models.classification.data.DataError",
    "fer_models.detection.data.FaceDataError",
    "fer_models.detection.references.ReferenceDetectorError",
    "fer_models.device.DeviceError",
    "fer_models.training_runs.RunError",
    "fer_models.video.container.VideoReadError",
    "fer_models.video.live_source.LiveSourceError",
    "fer_models.weights.WeightsError",
    "flows.demo.DemoError",
    "flows.engines.EngineError",
    "flows.inputs.InputError",
    "flows.live_timeline.LiveTimelineError",
    "flows.markdown.MarkdownError",
    "flows.prefect_server.PrefectServerError",
    "flows.prefect_server.ScheduleError",
    "flows.render.RenderError",
}


def is_expected(error: BaseException) -> bool:
    """Whether an error is one of these, or a kind of one."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in EXPECTED for kind in type(error).__mro__)

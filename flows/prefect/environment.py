"""Environment variables that Prefect reads when it is imported: no telemetry, no log on the console."""

import os


def without_telemetry() -> None:
    """Keep Prefect from sending usage data, unless the environment says otherwise. Call before importing Prefect."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def without_console_log() -> None:
    """Keep Prefect's log off the console; its server still receives it. Call before importing Prefect."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

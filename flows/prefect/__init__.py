"""Prefect: the temporary server, schedules and task runners."""

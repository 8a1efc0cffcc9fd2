"""The child process that runs the flow: the messages between it and the process that analyzes."""

import contextlib
import errno
import io
from pathlib import Path

import psutil
import pytest
from clips import context_of
from commands import fervid

from analytics.results.status import status
from flows.analysis.channel import Channel, Close, VideoAnswer, joined, with_causes
from flows.analysis.failures import VideoFailed, is_transient
from flows.analysis.flow_process import FlowProcess
from flows.analysis.run import AnalysisRun, Inputs, prepare_run
from flows.prefect.server import PrefectServerError
from flows.settings import EngineSettings

pytestmark = pytest.mark.slow


def sent(message):
    """A message after it has been sent through a channel."""
    pipe = io.BytesIO()
    Channel(pipe, pipe).send(message)
    pipe.seek(0)
    return Channel(pipe, pipe).receive()


def failure_of_a_disk():
    """A failure with its cause, as an analysis raises it."""
    try:
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError as cause:
            raise VideoFailed("a.mp4: Input/output error") from cause
    except VideoFailed as error:
        return error


def test_an_error_arrives_with_its_causes():
    received = sent(VideoAnswer(7, errors=with_causes(failure_of_a_disk())))
    assert (received.number, received.outcome) == (7, None)
    error = joined(received.errors)
    assert isinstance(error, VideoFailed) and str(error) == "a.mp4: Input/output error"
    assert isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO
    assert is_transient(error)


def test_an_error_that_cannot_be_pickled_arrives_as_its_text():
    error = ValueError("broken", lambda: None)
    (received,) = sent(VideoAnswer(1, errors=with_causes(error))).errors
    assert type(received) is RuntimeError and str(received).startswith("ValueError: ('broken', <function")


def test_half_a_message_is_the_end_of_the_other_process():
    pipe = io.BytesIO()
    Channel(pipe, pipe).send(VideoAnswer(1, errors=[OSError("x" * 1000)]))
    pipe = io.BytesIO(pipe.getvalue()[:500])
    with pytest.raises(EOFError):
        Channel(pipe, pipe).receive()


def test_a_module_of_the_working_directory_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(FlowProcess()) as process:
        process.channel.send(Close())
        process.has_records = True
        assert process.process.wait(300) == 0


def test_a_transient_failure_is_retried(face_clip, server, tmp_path, monkeypatch):
    from analytics.results.stored_timeline import build_stored_timeline

    calls = []

    def fails_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return build_stored_timeline(*arguments, **options)

    monkeypatch.setattr("flows.analysis.analyze_video.build_stored_timeline", fails_once)
    arguments = ["analyze", str(face_clip), "--out", str(tmp_path / "out"), "--device", "cpu"]
    done = fervid(*arguments, env={"PREFECT_API_URL": server})
    assert done.exit_code == 0, done.stderr
    assert len(calls) == 2
    assert [one.state for one in status(tmp_path / "out")] == ["done"]


def test_a_child_process_that_only_closes_its_pipe_is_killed_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.analysis.flow_process.CHILD", "import os, time; os.close(1); time.sleep(3600)")
    monkeypatch.setattr("flows.analysis.flow_process.STOP_TIMEOUT_S", 0.1)
    run = AnalysisRun(Inputs([]), [], EngineSettings(), context_of(tmp_path / "out"))
    with (
        contextlib.closing(FlowProcess()) as process,
        pytest.raises(PrefectServerError, match="Prefect's process ended with exit code -9: run again"),
    ):
        process.run(run)


def test_the_end_of_the_child_process_is_reported(face_clip, server, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server)
    process = FlowProcess()
    try:
        psutil.Process(process.process.pid).kill()
        with pytest.raises(PrefectServerError, match="Prefect's process ended with exit code -9: run again"):
            process.run(prepare_run(Inputs([face_clip]), context_of(Path(tmp_path / "out"))))
    finally:
        process.close()

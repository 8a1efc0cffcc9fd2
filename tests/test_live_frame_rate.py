"""`--fps auto`: on a simulated machine of known speed, the rate settles where few frames are dropped."""

import pytest
import typer

from fer_models.video.live import FrameSampler
from flows.cli.commands.live import with_frame_rate
from flows.live.frame_rate import AdaptiveFrameRate
from flows.settings import AnalyzeSettings, LiveSettings

STREAM_FPS = 25


class Machine:
    """Analyzes a stream of `STREAM_FPS` frames per second, second by second."""

    def __init__(self, rate: AdaptiveFrameRate) -> None:
        self.rate, self.now_s, self.sampler = rate, 0.0, FrameSampler(rate.fps)
        self.rate.add(0.0, n_analyzed=0, n_dropped=0, busy_s=0.0)

    def run(self, seconds: int, speed: int) -> list[int]:
        """Analyze at most `speed` frames in each second; returns how many were dropped in each."""
        dropped = []
        for _ in range(seconds):
            self.sampler.fps = self.rate.fps
            n = sum(self.sampler.selects(self.now_s + i / STREAM_FPS) for i in range(STREAM_FPS))
            self.now_s += 1
            dropped.append(max(0, n - speed))
            self.rate.add(self.now_s, n_analyzed=min(n, speed), n_dropped=dropped[-1], busy_s=min(1.0, n / speed))
            self.rate.decide(self.now_s, STREAM_FPS)
        return dropped


def test_a_fast_machine_analyzes_all_frames():
    machine = Machine(AdaptiveFrameRate())
    assert sum(machine.run(60, speed=40)) == 0
    assert machine.rate.fps is None


@pytest.mark.parametrize("speed", [2, 6, 10, 20])
def test_a_slow_machine_soon_drops_nothing(speed):
    machine = Machine(AdaptiveFrameRate())
    dropped = machine.run(60, speed)
    assert dropped[0] == STREAM_FPS - speed
    assert sum(dropped[10:]) == 0
    assert 0.5 * speed <= machine.rate.fps <= speed


def test_a_machine_that_becomes_fast_again_analyzes_all_frames_again():
    machine = Machine(AdaptiveFrameRate())
    machine.run(30, speed=5)
    assert machine.rate.fps < 6
    assert sum(machine.run(15, speed=100)) == 0  # with that much time to spare, each step is a large one
    assert machine.rate.fps is None


def test_the_rate_of_sampling_can_change_at_any_time():
    sampler = FrameSampler(None)
    times_s = [i / 25 for i in range(100)]
    first = [time_s for time_s in times_s[:25] if sampler.selects(time_s)]
    sampler.fps = 5.0
    second = [time_s for time_s in times_s[25:75] if sampler.selects(time_s)]
    sampler.fps = None
    third = [time_s for time_s in times_s[75:] if sampler.selects(time_s)]
    assert (first, third) == (times_s[:25], times_s[75:])
    assert second == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8])


def test_the_option_takes_a_number_or_auto():
    settings, live = AnalyzeSettings(fps=3), LiveSettings(adapt_fps=True)
    chosen = {fps: with_frame_rate(fps, settings, live) for fps in (None, "auto", "7.5")}
    assert {fps: (one.fps, other.adapt_fps) for fps, (one, other) in chosen.items()} == {
        None: (3, True),
        "auto": (None, True),
        "7.5": (7.5, False),
    }
    for wrong in ("fast", "0"):
        with pytest.raises(typer.BadParameter, match="--fps"):
            with_frame_rate(wrong, settings, live)

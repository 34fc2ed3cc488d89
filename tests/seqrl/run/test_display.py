from __future__ import annotations

import io

import pytest

from seqrl.run.display import LiveDisplay, PlainDisplay, TimeLeft, curve, format_metric, format_seconds, make_display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    display = make_display("demo", num_updates=10, stream=stream)
    assert isinstance(display, PlainDisplay)
    display.write(0, {"dev/score": 0.123456, "time/evaluate_s": 1.0})
    display.write(1, {"loss/policy": 2.0, "progress/num_samples": 5})
    display.write(2, {"loss/policy": 3.0})  # too soon after the one before
    display.write(10, {"loss/policy": 4.0})
    display.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "demo 0/10  dev/score 0.1235"
    assert lines[1].startswith("demo 1/10") and lines[1].endswith("loss/policy 2")
    assert lines[2].startswith("demo 10/10") and len(lines) == 3
    assert "\x1b" not in stream.getvalue()


def test_lines_come_often_at_first_and_hold_all_episodes_between_them() -> None:
    now, stream = [0.0], io.StringIO()
    display = PlainDisplay("demo", num_updates=10_000, stream=stream, clock=lambda: now[0])
    for step in range(1, 4001):  # a tenth of a second each
        now[0] = step / 10
        display.write(step, {"episode/return_mean": float(step), "episode/return_max": step, "episode/count": 1})
    lines = [line.split() for line in stream.getvalue().splitlines()]
    seconds = [int(line[1].split("/")[0]) / 10 for line in lines]
    pauses = [after - before for before, after in zip(seconds, seconds[1:], strict=False)]
    assert seconds[0] == 0.1 and pauses[0] == pytest.approx(1.0) and max(pauses) == pytest.approx(30.0, abs=0.2)
    assert len(lines) < 60
    assert lines[1][-2:] == ["episode/return_mean", "6.5"]  # of updates 2 to 11


def test_live_table_shows_how_the_return_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    display = make_display("demo", num_updates=10, stream=stream)
    for step, value in enumerate((0.0, 70.0, 35.0), start=1):
        display.write(step, {"episode/return_mean": value})
    display.write(4, {"loss/policy": 1.0})  # an update in which no episode ended
    display.close()
    if not display._live.console.options.ascii_only:  # type: ignore[attr-defined]
        assert "▁█▅" in stream.getvalue() or "▁█▄" in stream.getvalue()
    assert "episode" in stream.getvalue()


def test_curve_by_hand() -> None:
    assert curve([3.0]) == "▁"
    assert curve([0.0, 7.0, 3.0]) == "▁█▄"
    assert curve([0, 0, 2, 4, 7, 7], width=3) == "▁▄█"
    assert len(curve(range(1000))) == 40


def test_live_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    display = make_display("demo", num_updates=10, stream=stream)
    assert isinstance(display, LiveDisplay)
    display.write(0, {"dev/score": 0.5})
    display.write(4, {"loss/policy": 2.25})
    display.say(4, "the policy [b] hardly moves")
    display.close()
    shown = stream.getvalue()
    for text in ("after update 4: ", "the policy [b] hardly moves", "demo", "4/10", "left", "dev", "score", "0.5", "policy", "2.25"):
        assert text in shown


def test_time_left_goes_by_the_pace_since_the_start() -> None:
    now = [100.0]
    left = TimeLeft(num_updates=20, start=10, clock=lambda: now[0])
    assert left.seconds(10) is None
    now[0] = 104.0
    assert left.seconds(12) == 16.0
    assert left.seconds(20) == 0.0


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (12345.0, "12,345"), (0.000123456, "0.0001235"), (float("nan"), "nan"), (float("inf"), "inf")]
)
def test_metrics_are_short(value: float, text: str) -> None:
    assert format_metric(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(12.3, "12 s"), (184, "3:04 min"), (5 * 3600 + 6 * 60 + 7, "5:06 h")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

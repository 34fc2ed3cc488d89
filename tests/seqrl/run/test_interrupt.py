from __future__ import annotations

import os
import signal
import threading

import pytest

from seqrl.run.interrupt import SIGNALS, Command, Interrupt, Interrupted, exit_code, resume_command, run_command


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_code_and_message(number: int, code: int, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    assert run_command(lambda: send(number), name="program", hint="nothing was kept") == code == exit_code(number)
    assert capsys.readouterr().err == f"program: interrupted by {name}; nothing was kept\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_as_many_processes_go_on_as_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert resume_command("runs/a") == "seqrl resume runs/a"
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert resume_command("runs/a") == "seqrl resume runs/a"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resume_command("runs/a") == "torchrun --nproc_per_node 2 -m seqrl resume runs/a"


def test_without_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: None, name="program") == 0
    assert run_command(lambda: 2, name="program") == 2
    with pytest.raises(ValueError, match="bad"):
        run_command(lambda: int("bad"), name="program")
    assert capsys.readouterr().err == ""


def test_what_breaks_because_of_a_signal_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def converts() -> None:
        try:
            send()
        except KeyboardInterrupt:
            raise ImportError("cannot import half of it") from None

    assert run_command(converts, name="program") == 143
    assert capsys.readouterr().err == "program: interrupted by SIGTERM\n"


def test_a_signal_that_somebody_swallowed_counts() -> None:
    def swallows() -> int:
        try:
            send()
        except KeyboardInterrupt:
            return 0
        raise AssertionError("no signal came")

    assert run_command(swallows, name="program") == 143


def test_one_request_that_comes_twice() -> None:
    """Coreutils' `timeout` sends its signal to the command and then to the group of the command."""

    def twice() -> None:
        try:
            send()
        finally:
            send()

    assert run_command(twice, name="program") == 143


def test_a_command_in_a_command() -> None:
    codes = []
    assert run_command(lambda: codes.append(run_command(send, name="inner")), name="outer") == 143
    assert codes == [143]


def test_a_run_takes_the_signals_over() -> None:
    with Command() as command:
        with Interrupt() as interrupt:
            send()
            assert interrupt.asked == command.asked == signal.SIGTERM
        with pytest.raises(Interrupted):
            command.check()
        with Interrupt() as later:
            assert later.asked  # it does not begin


def test_what_can_be_taken_back_is_broken_off() -> None:
    with Interrupt() as interrupt:
        with pytest.raises(Interrupted), interrupt.abandonable():
            send(signal.SIGINT)
            raise AssertionError("went on")
        with interrupt.abandonable(possible=False):
            pass
        with pytest.raises(Interrupted), interrupt.abandonable():
            raise AssertionError("began")


def test_elsewhere_than_in_the_main_thread() -> None:
    found: list[int] = []

    def work() -> None:
        with Interrupt() as interrupt, interrupt.abandonable():
            found.append(interrupt.asked)

    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0] and [signal.getsignal(each) for each in SIGNALS] == before

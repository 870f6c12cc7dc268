from __future__ import annotations

import os
import signal
import threading

import pytest

from caderno.run.stop import Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    stop = Stop()
    with stop.installed():
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        assert not stop.now
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.now
        assert stop.signal == number  # the first one names the end


def test_the_handlers_before_are_back_after() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), Stop().installed():
        assert signal.getsignal(signal.SIGINT) != before
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) == before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    try:
        with stop.installed():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop.signal is None


def test_in_another_thread_than_the_main_one_signals_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def inside() -> None:
        with Stop().installed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]

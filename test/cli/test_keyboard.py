"""Keys are read, and given to who serves them, whatever the program does meanwhile."""

import contextlib
import os
import queue
import signal
import sys
import termios
from functools import partial

import pytest
from awaited import wait_until
from terminal_session import TerminalSession

from armlet.cli.graph.evaluate_by_hand import _press
from armlet.cli.terminal.keyboard import Keyboard, KeyQueue

TIMEOUT_S = 120.0


@pytest.fixture
def terminal(monkeypatch):
    """Types keys at the terminal that is this program's input."""
    master, slave = os.openpty()
    with os.fdopen(slave) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda keys: os.write(master, keys.encode())
    os.close(master)


def test_keys_are_served_in_their_order_those_first_that_came_before_anybody_served(terminal):
    served = queue.Queue()

    def serve(key):
        served.put(key)
        return key != "q"

    with KeyQueue() as keys:
        terminal("tq")
        while keys._keys.qsize() < 2:
            keys._thread.join(0.01)
        keys.serve(serve)
        terminal("x")
        # Nobody asks for a key meanwhile.
        assert [served.get(timeout=TIMEOUT_S) for _ in "tqx"] == list("tqx")
        assert keys.key(TIMEOUT_S) == "q"
        assert keys.key(0.0) == ""


class Trials:
    """What `eval --by-hand` asks for, in order."""

    def __init__(self):
        self.asked = queue.Queue()

    def stop(self):
        self.asked.put("stop")

    def hold(self):
        self.asked.put("hold")


def test_torque_that_was_asked_for_before_a_stop_does_not_come_on_after_it(terminal):
    """The stop was served at once, and t when the program came to it, which may take seconds."""
    trials = Trials()
    with KeyQueue() as keys:
        keys.serve(partial(_press, trials))
        terminal("tx")
        assert [trials.asked.get(timeout=TIMEOUT_S) for _ in "tx"] == ["hold", "stop"]
        assert keys.key(TIMEOUT_S) == "x", "a trial that runs is discarded"


def test_a_terminal_that_is_gone_is_known_to_who_serves_and_who_asks(terminal, monkeypatch):
    with KeyQueue() as keys:
        keys.serve(lambda key: True)
        monkeypatch.setattr(keys._keyboard, "poll", _gone)
        with pytest.raises(EOFError):
            keys.key(TIMEOUT_S)


def _gone(timeout_s):
    raise EOFError


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (["\x1b[A"], ""),
        (["\x1b[Ax"], "x"),  # in one read, where the program was not run for a moment
        (["w\x1b[D"], "w"),
        (["w\x1b[b"], "w"),  # Shift and an arrow: b by itself hands the arm to a policy
        (["\x1b[", "b"], ""),
        (["\x1b", "[1;5", "A", "w"], "w"),
        (["\x1bOP\x1bOa\x1b[[Ax\x1b[15~"], "x"),
        (["\x1bx"], "x"),  # Alt and a key, or Escape and one
        (["\x1b", "x"], "x"),
        (["\x1b\x1b[Aw\x1b"], "w"),
        (["\x1b[200~x\x1b[201~"], "x"),
    ],
)
def test_keys_of_several_characters_are_none_and_hide_none(typed, keys):
    keyboard = Keyboard.__new__(Keyboard)
    keyboard._begun, keyboard._begun_s = "", 0.0
    assert "".join(keyboard._keys(text, 1.0) for text in typed) == keys


def test_what_comes_long_after_escape_is_a_key():
    keyboard = Keyboard.__new__(Keyboard)
    keyboard._begun, keyboard._begun_s = "", 0.0
    assert keyboard._keys("\x1b[", 1.0) == ""
    assert keyboard._keys("x", 3.0) == "x"


def test_a_second_ctrl_c_leaves_the_terminal_as_it_was(terminal, monkeypatch):
    before = termios.tcgetattr(sys.stdin.fileno())
    keys = KeyQueue()
    with pytest.raises(KeyboardInterrupt), keys:
        assert termios.tcgetattr(sys.stdin.fileno()) != before
        monkeypatch.setattr(keys._thread, "join", _interrupted)
    assert termios.tcgetattr(sys.stdin.fileno()) == before
    monkeypatch.undo()
    keys._thread.join()


def _interrupted():
    raise KeyboardInterrupt


ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@pytest.fixture
def untouched():
    """Signals as a program finds them: what runs the tests may have handlers of its own."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_what_ends_the_program_has_it_clean_up_and_gives_the_terminal_back(
    terminal, untouched, number
):
    before = termios.tcgetattr(sys.stdin.fileno())
    cleaned = []
    with pytest.raises(KeyboardInterrupt), KeyQueue(), contextlib.ExitStack() as stack:
        stack.callback(cleaned.append, "up")
        assert termios.tcgetattr(sys.stdin.fileno()) != before
        assert signal.getsignal(number) is not signal.SIG_DFL, "it would end here"
        signal.raise_signal(number)
    assert cleaned == ["up"]
    assert termios.tcgetattr(sys.stdin.fileno()) == before
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("where", ["tcgetattr", "tcsetattr"])
def test_a_signal_while_it_begins_leaves_the_terminal_as_it_was(
    terminal, untouched, monkeypatch, where
):
    before = termios.tcgetattr(sys.stdin.fileno())
    done = getattr(termios, where)

    def interrupted(*given):
        monkeypatch.undo()
        done(*given)
        signal.raise_signal(signal.SIGTERM)

    stdin = sys.stdin
    monkeypatch.setattr(termios, where, interrupted)
    keys = KeyQueue()
    with pytest.raises(KeyboardInterrupt):
        keys.__enter__()
    assert termios.tcgetattr(stdin.fileno()) == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_that_was_lost_in_an_import_is_known_at_the_next_key(terminal, untouched):
    with KeyQueue() as keys:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        # A closed terminal sends two.
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            keys.key(0.0)


def test_signals_that_are_ignored_or_handled_stay_so(terminal, untouched):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # `nohup`
    noted = []
    signal.signal(signal.SIGTERM, lambda *_: noted.append("TERM"))  # `armlet up`
    with KeyQueue() as keys:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert keys.key(0.0) == ""
    assert noted == ["TERM"]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["jog", "session"])
def test_a_kill_of_a_command_that_reads_keys_leaves_the_terminal_sane(private_domain, command):
    with TerminalSession(command) as session:
        wait_until(lambda: not session.echoes(), "single keys to be read")
        session.process.send_signal(signal.SIGTERM)
        assert session.wait_end() == 0
        assert session.echoes()

"""`armlet jog`: a person moves the arm by the keyboard, beside a running graph with `jog`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import namespace
from armlet.cli.terminal.output import refuse

if TYPE_CHECKING:
    from armlet.cli.terminal.keyboard import KeyQueue
    from armlet.control.keys import KeyStick

STOP, QUIT = "x", "q"
KEYS = {
    "w s": "forward, back",
    "a d": "left, right",
    "r f": "up, down",
    "i k": "pitch up, down",
    "j l": "roll",
    "o c": "open, close the gripper",
    "m": "tip or joint by joint",
    "space": "let go",
    "b": "hand the arm back to a policy",
    STOP: "STOP: torque off at once; t in `armlet session` switches it on",
    QUIT: "quit; the nodes keep running",
}
_REDRAW_S = 0.1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `jog` command."""
    parser = subparsers.add_parser(
        "jog",
        help="move the arm by keyboard, beside a running graph",
        description="Move the arm while a key is held down, as a gamepad does, beside a graph that "
        "was started in another terminal with `armlet up jog`.",
        epilog="keys: " + "; ".join(f"{keys} {does}" for keys, does in KEYS.items()),
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", help="namespace of the arm, such as left"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after q or Ctrl-C, 2 without a terminal."""
    from armlet.cli.terminal.keyboard import KeyQueue, is_interactive

    if not is_interactive():
        why = "needs a terminal; from scripts publish sensor_msgs/msg/Joy on joy"
        return refuse("jog", why)
    from armlet.control.keys import KeyStick

    stick, stopping = KeyStick(), threading.Event()
    with contextlib.suppress(KeyboardInterrupt, EOFError), KeyQueue() as keys:
        keys.serve(partial(_press, stick, stopping))
        for words, does in KEYS.items():
            print(f"{words:>6}  {does}")
        _watch(args.namespace, stick, stopping, keys)
    print()
    return 0


def _press(stick: KeyStick, stopping: threading.Event, key: str) -> bool:
    """What a key stands for, at once; only q is left to others."""
    if key == STOP:
        stopping.set()
    stick.press(key, time.monotonic())  # one that is no direction lets go
    return key != QUIT


def _watch(where: str, stick: KeyStick, stopping: threading.Event, keys: KeyQueue) -> None:
    from armlet.cli.graph.up_screen import StatusLine
    from armlet.client.joy_keys import JoyKeys
    from armlet.client.live import LiveGraph

    follower, screen = f"{where}/servo_bus".lstrip("/"), StatusLine(sys.stdout)
    with JoyKeys(where, stick.message) as joy, LiveGraph(where, [follower], stopping) as graph:
        while not keys.key(_REDRAW_S):
            for warning in graph.warnings():
                screen.write(f"! {warning}\n")
            mode = "joint by joint" if stick.by_joint else "tip"
            held = stick.held(time.monotonic()) or "no key"
            arm = graph.parts()[:1] if joy.heard else ["no jog here: is `armlet up jog` running?"]
            screen.show([f"{mode}, {held}", *arm], [f"{STOP}: STOP"])

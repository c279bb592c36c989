"""Many connections that ask nothing, and the stop beside them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from armlet.console.connections import bounded

GUARD_S = 240.0


class Transport:
    def __init__(self):
        self.protocol, self.ended = None, False

    def get_protocol(self):
        return self.protocol

    def is_closing(self):
        return self.ended

    def abort(self):
        self.ended = True


class Base:
    """As much of a server's protocol as counts."""

    transport = cycle = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        pass


@pytest.fixture
def kind():
    return bounded(Base, 3)


def opened(kind, count=1):
    made = []
    for _ in range(count):
        transport = Transport()
        made.append(kind())
        transport.protocol = made[-1]
        made[-1].connection_made(transport)
    return made


def ended(connections):
    return [one.transport.ended for one in connections]


def test_of_too_many_that_ask_nothing_the_oldest_go(kind):
    assert ended(opened(kind, 5)) == [True, True, False, False, False]


def test_one_that_is_answered_or_is_a_websocket_stays(kind):
    answered, upgraded, over = opened(kind, 3)
    answered.cycle = SimpleNamespace(response_complete=False)
    over.cycle = SimpleNamespace(response_complete=True)
    upgraded.transport.protocol = object()
    opened(kind, 3)
    assert ended([answered, upgraded, over]) == [False, False, True]


def test_one_that_has_gone_is_not_counted(kind):
    first, second = opened(kind, 2)
    second.connection_lost(None)
    opened(kind, 2)
    assert ended([first, second]) == [False, False]


SERVED = """
import json, resource, sys, tempfile
sys.path.insert(0, {here!r})
from test_front import Graph
from armlet.console.access import Rules
from armlet.console.page import Setting
from armlet.console.server import listening, serving

# No room on any disk, so that no folder for passing files is found; and few open files.
tempfile._candidate_tempdir_list = list
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
graph = Graph()
place = listening("127.0.0.1", 0)
with serving(Setting(graph), Rules("token"), place, pages=()):
    sys.stdout.write(json.dumps(place.getsockname()) + "\\n")
    sys.stdout.flush()
    sys.stdin.read()
    sys.stdout.write(json.dumps(graph.keys) + "\\n")
"""


@pytest.mark.thorough
def test_the_stop_is_answered_while_strangers_hold_a_thousand_connections_and_no_disk_has_room():
    pytest.importorskip("nicegui", reason="the console extra is not installed")
    script = SERVED.format(here=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            host, port = json.loads(process.stdout.readline())
            held = strangers(host, port, 1000)
            assert asked(host, port).startswith(b"HTTP/1.1 200")
            assert json.loads(process.communicate("", timeout=GUARD_S)[0]) == ["x"]
            del held
        finally:
            process.kill()


def strangers(host, port, count):
    return [socket.create_connection((host, port), timeout=GUARD_S) for _ in range(count)]


def asked(host, port):
    """What a press of the stop button is answered, which its script tries until it is."""
    request = (
        f"POST /stop HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"
        f"Cookie: armlet_console_{port}=token\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=GUARD_S) as connection:
        connection.sendall(request.encode())
        return connection.recv(1000)

"""The stop, and cameras' pictures to browsers that are slow, gone, or none."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from asgi_client import Socket, ask, scope_of

from armlet.console.front import FILES, MOST_AT_ONCE, PICTURES, STOP, Front
from armlet.console.pictures import Pictures

HERE = (("host", "127.0.0.1"),)
GUARD_S = 60.0


class Camera:
    def __init__(self, graph, heard):
        self._graph, self.heard = graph, heard

    def __enter__(self):
        self._graph.viewers.append(self)
        return self

    def __exit__(self, *_):
        self._graph.viewers.remove(self)

    def picture(self):
        return self._graph.newest


class Graph:
    """A graph with one camera, `front`, of which a test makes the pictures."""

    def __init__(self):
        self.keys, self.viewers, self.newest = [], [], None
        self.answers = ()

    def press(self, key):
        self.keys.append(key)
        self.answers = (
            SimpleNamespace(subject="servo_bus/stop", said="torque is off", level="good"),
        )

    def view(self):
        return SimpleNamespace(stopping="", arm="holding", answers=self.answers)

    def camera(self, name, heard):
        if name != "front":
            raise KeyError(name)
        return Camera(self, heard)

    def show(self, number):
        self.newest = SimpleNamespace(
            jpeg=b"\xff\xd8 %d" % number, number=number, age_s=0.01, rate_hz=30.0, skew_s=None
        )
        for viewer in self.viewers:
            viewer.heard()


async def no_pages(scope, receive, send):
    raise AssertionError(f"{scope['path']} is none of the pages'")


@pytest.fixture
def graph():
    return Graph()


def test_a_stop_is_asked_for_by_post_alone_and_says_what_came_of_it(graph):
    front = Front(graph, no_pages)
    assert json.loads(ask(front, STOP, HERE).body)["answers"] == [] and graph.keys == []
    assert ask(front, STOP, HERE, method="DELETE").status == 405 and graph.keys == []
    said = json.loads(ask(front, STOP, HERE, method="POST").body)
    assert graph.keys == ["x"]
    assert said["answers"] == [["servo_bus/stop", "torque is off", "good"]]


@pytest.mark.parametrize("name", ["../access.py", "%2e%2e/access.py", "", "nothing.js"])
def test_no_file_but_the_consoles_own_is_served(graph, name):
    assert ask(Front(graph, no_pages), FILES + name, HERE).status == 404


def test_the_consoles_own_files_are_served(graph):
    reply = ask(Front(graph, no_pages), f"{FILES}stop.js", HERE)
    assert reply.status == 200 and reply.headers["content-type"] == "text/javascript"


def unpacked(message):
    data = message["bytes"]
    return json.loads(data[1 : 1 + data[0]]), data[1 + data[0] :]


async def looking(graph, query="camera=front", app=None):
    socket = Socket(app or Front(graph, no_pages), PICTURES, HERE, query)
    return socket, await asyncio.wait_for(socket.said.get(), GUARD_S)


def test_a_viewer_is_sent_the_newest_and_no_other_before_it_has_shown_that(graph):
    async def play():
        socket, first = await looking(graph)
        assert first["type"] == "websocket.accept"
        async with socket:
            graph.show(1)
            header, jpeg = unpacked(await asyncio.wait_for(socket.said.get(), GUARD_S))
            assert (header["camera"], header["number"], jpeg) == ("front", 1, b"\xff\xd8 1")
            for number in (2, 3, 4):
                graph.show(number)
                await asyncio.sleep(0)
            assert socket.said.empty()
            socket.give("front")
            header, _ = unpacked(await asyncio.wait_for(socket.said.get(), GUARD_S))
            assert header["number"] == 4
        assert graph.viewers == []

    asyncio.run(play())


def test_one_that_never_reads_is_let_go(graph):
    async def play():
        socket, _ = await looking(graph, app=Pictures(graph, shown_s=0.05))
        graph.show(1)
        await asyncio.wait_for(socket.said.get(), GUARD_S)
        assert (await asyncio.wait_for(socket.said.get(), GUARD_S))["type"] == "websocket.close"
        await asyncio.wait_for(socket._running, GUARD_S)
        assert graph.viewers == []

    asyncio.run(play())


def test_one_that_takes_no_more_bytes_is_let_go(graph):
    """A tablet that was carried out of the network: nothing says that it has gone."""

    async def play():
        queries, sent = asyncio.Queue(), []
        queries.put_nowait({"type": "websocket.connect"})

        async def send(message):
            sent.append(message["type"])
            if message["type"] != "websocket.accept":
                await asyncio.Event().wait()

        pictures = Pictures(graph, shown_s=0.05)
        scope = scope_of("websocket", PICTURES, HERE, query="camera=front")
        running = asyncio.ensure_future(pictures(scope, queries.get, send))
        while not graph.viewers:
            await asyncio.sleep(0)
        graph.show(1)
        await asyncio.wait_for(running, GUARD_S)
        assert sent == ["websocket.accept", "websocket.send", "websocket.close"]
        assert graph.viewers == [] and pictures.viewers == 0

    asyncio.run(play())


def test_the_stop_is_answered_beside_any_number_of_requests(graph):
    async def play():
        asked, answer = asyncio.Semaphore(0), asyncio.Event()

        async def pages(scope, receive, send):
            asked.release()
            await answer.wait()

        front = Front(graph, pages)
        held = [Socket(front, "/live", HERE) for _ in range(MOST_AT_ONCE)]
        for _ in held:
            await asyncio.wait_for(asked.acquire(), GUARD_S)
        async with Socket(front, "/live", HERE) as one_more:
            said = await asyncio.wait_for(one_more.said.get(), GUARD_S)
            assert said == {"type": "websocket.close", "code": 1013}
        assert (await asyncio.to_thread(ask, front, "/live", HERE)).status == 503
        assert (await asyncio.to_thread(ask, front, STOP, HERE, "POST")).status == 200
        answer.set()
        await asyncio.gather(*(each._running for each in held))
        async with Socket(front, "/live", HERE):
            await asyncio.wait_for(asked.acquire(), GUARD_S)

    asyncio.run(play())


@pytest.mark.parametrize("text", ["", "side", "x" * 10_000, "\x00", None])
def test_what_no_viewer_of_ours_says_ends_it_alone(graph, text):
    async def play():
        other, _ = await looking(graph)
        socket, _ = await looking(graph)
        socket.give(text)
        assert (await asyncio.wait_for(socket.said.get(), GUARD_S))["type"] == "websocket.close"
        await asyncio.wait_for(socket._running, GUARD_S)
        graph.show(1)
        assert (await asyncio.wait_for(other.said.get(), GUARD_S))["type"] == "websocket.send"
        async with other:
            pass

    asyncio.run(play())


@pytest.mark.parametrize(
    "query",
    [
        "",
        "camera=",
        "camera=side",
        "camera=" + "n" * 65,
        "&".join(f"camera={number}" for number in range(17)),
    ],
)
def test_a_viewer_of_no_camera_is_refused(graph, query):
    async def play():
        socket, first = await looking(graph, query)
        assert first["type"] == "websocket.close"
        async with socket:
            pass
        assert graph.viewers == []

    asyncio.run(play())

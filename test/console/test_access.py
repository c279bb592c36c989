"""Who may speak to the console: its own pages, and whoever has the token."""

from __future__ import annotations

import asyncio

import pytest
from asgi_client import Socket, ask

from armlet.console.access import Gate, Rules, is_loopback

TOKEN = "a-token-of-this-console"
HERE = ("host", "127.0.0.1:8420")
LOCAL = Rules()
OPEN = Rules(TOKEN, frozenset({"robot", "robot.local"}), only_loopback=False)


async def pages(scope, receive, send):
    """What is behind the gate: answers everything."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"let in"})


def asked(rules, *headers, **more):
    return ask(Gate(pages, rules), headers=headers, **more)


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost", "localhost:1", "[::1]:8420"])
def test_this_computers_own_names_are_let_in(host):
    assert asked(LOCAL, ("host", host)).body == b"let in"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "evil.example")],  # a name that points here all at once
        [("host", "robot:8420")],
        [("host", "192.168.0.7:8420")],  # let in by mistake
        [HERE, HERE],
        [("host", "127.0.0.1.evil.example:8420")],
    ],
)
def test_a_name_of_another_computer_is_refused(headers):
    assert asked(LOCAL, *headers).status == 421


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("GET", [("origin", "http://evil.example")]),
        ("GET", [("origin", "null")]),
        ("GET", [("sec-fetch-site", "cross-site")]),
        ("GET", [("sec-fetch-site", "same-site")]),
        ("POST", []),  # a program's, or a form's without its origin
        ("POST", [("origin", "http://127.0.0.1:9999")]),
    ],
)
def test_what_another_site_asks_is_refused(method, more):
    assert asked(LOCAL, HERE, *more, method=method).status == 403


def test_the_consoles_own_page_may_ask_anything():
    own = ("origin", "http://127.0.0.1:8420")
    assert asked(LOCAL, HERE, own, method="POST").body == b"let in"


def test_a_socket_needs_the_origin_of_the_console():
    async def first(*headers):
        async with Socket(Gate(pages, LOCAL), "/pictures", (HERE, *headers)) as socket:
            return await socket.said.get()

    assert asyncio.run(first()) == {"type": "websocket.close", "code": 1008}
    elsewhere = ("origin", "http://evil.example")
    assert asyncio.run(first(elsewhere))["type"] == "websocket.close"
    own = ("origin", "http://127.0.0.1:8420")
    assert asyncio.run(first(own))["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "cookie",
    ["", "other=1", "armlet_console=", "armlet_console=wrong", "=;=;=", "armlet_console=ä"],
)
def test_without_the_token_nothing_is_to_be_had(cookie):
    reply = asked(OPEN, ("host", "robot.local:8420"), ("cookie", cookie))
    assert reply.status == 401 and b"let in" not in reply.body


def test_a_wrong_token_in_the_address_is_refused():
    assert asked(OPEN, ("host", "robot:1"), query="token=wrong").status == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address():
    reply = asked(OPEN, ("host", "robot:1"), query=f"a=1&token={TOKEN}", path="//evil.example/x")
    assert reply.status == 303 and reply.headers["location"] == "/evil.example/x?a=1"
    kept = reply.headers["set-cookie"]
    assert "HttpOnly" in kept and "SameSite=Strict" in kept
    cookie = ("cookie", kept.partition(";")[0])
    assert asked(OPEN, ("host", "robot:1"), cookie).body == b"let in"
    assert asked(OPEN, ("host", "evil.example"), cookie).status == 421


def test_every_answer_says_that_no_other_site_may_show_it():
    for reply in (asked(LOCAL, HERE), asked(LOCAL, ("host", "evil.example"))):
        assert reply.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.3.4.5", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.7", False),
        ("localhost.evil", False),
    ],
)
def test_which_addresses_only_this_computer_reaches(host, local):
    assert is_loopback(host) == local

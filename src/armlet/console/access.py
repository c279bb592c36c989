"""Who may speak to the console: decided before anything else looks at a request. Pure ASGI.

Browsers send whatever any site tells them to, to any address. What they do not let a site choose
is what counts here: Host (a name that points here all at once is of another site), Origin and
Sec-Fetch-Site (whose page asks), and the cookie (SameSite=Strict).
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = "token"
_SAFE = ("GET", "HEAD")
_OWN = ("same-origin", "none")
_LONGEST_COOKIE = 4096
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    ),
)


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Rules:
    """What is demanded of requests.

    Attributes:
        token: demanded once, in the address, then as a cookie; empty: nobody is asked for one.
        names: names of this computer beside localhost; addresses are always right, as no name
            that points here all at once is one.
        only_loopback: a request to another address is of somebody who was let in by mistake.
    """

    token: str = ""
    names: frozenset[str] = frozenset()
    only_loopback: bool = True


@dataclass(frozen=True)
class Refusal:
    """An HTTP status, and one line for who asked."""

    status: int
    said: str


def own_names() -> frozenset[str]:
    """What this computer is called in its network."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0], f"{name.partition('.')[0]}.local"})


class Gate:
    """An ASGI application that lets through to another one what the rules permit.

    cookie: the name of the token's; cookies know no ports.
    """

    def __init__(self, app: App, rules: Rules, cookie: str = "armlet_console") -> None:
        self._app, self._rules, self._cookie = app, rules, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        headers = _headers(scope)
        refusal = _of_another(scope, headers, self._rules)
        if refusal is None and self._rules.token:
            if given := self._given(scope):
                if self._is_token(given):
                    await self._greet(scope, send)
                    return
                refusal = Refusal(401, "the token is wrong; the console's terminal shows it")
            elif not self._is_token(self._kept(headers)):
                refusal = Refusal(401, "open the address that the console's terminal shows")
        if refusal is not None:
            await _refuse(scope, send, refusal)
            return
        await self._app(scope, receive, _with_headers(send))

    def _given(self, scope: Scope) -> str:
        if scope["type"] != "http" or scope["method"] not in _SAFE:
            return ""
        query: str = scope["query_string"].decode("latin-1")
        pairs = parse_qsl(query)
        return dict(pairs).get(TOKEN, "")

    def _kept(self, headers: dict[str, list[str]]) -> str:
        text = "; ".join(headers.get("cookie", []))[:_LONGEST_COOKIE]
        try:
            morsel = SimpleCookie(text).get(self._cookie)
        except CookieError:
            return ""
        return "" if morsel is None else str(morsel.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._rules.token.encode())

    async def _greet(self, scope: Scope, send: Send) -> None:
        """Keep the token as a cookie, and have the address shown without it."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        rest = urlencode([pair for pair in pairs if pair[0] != TOKEN])
        # One slash: two would begin the name of another computer.
        path = "/" + scope.get("raw_path", b"/").decode("latin-1").lstrip("/\\")
        place = f"{path}?{rest}" if rest else path
        kept = f"{self._cookie}={self._rules.token}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(
            scope,
            send,
            303,
            "",
            [(b"location", place.encode("latin-1")), (b"set-cookie", kept.encode())],
        )


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _of_another(scope: Scope, headers: dict[str, list[str]], rules: Rules) -> Refusal | None:
    """Why a request is none of this console's own pages and people; None if it is."""
    hosts = headers.get("host", [])
    if len(hosts) != 1 or not _is_own(hosts[0], rules):
        return Refusal(
            421,
            "the name in the address is none of this computer's; use its IP address, or localhost",
        )
    origins = headers.get("origin", [])
    # Tunnels and proxies have another port or scheme than this server knows.
    own = [f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")]
    must = scope["type"] == "websocket" or scope["method"] not in _SAFE
    if (must and not origins) or any(origin.lower() not in own for origin in origins):
        return Refusal(403, "only the console's own pages may ask this")
    if any(site not in _OWN for site in headers.get("sec-fetch-site", [])):
        return Refusal(403, "another site led here: type the address into an empty tab instead")
    return None


def _is_own(host: str, rules: Rules) -> bool:
    """Whether a Host header names this computer."""
    name = _name(host)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or (not rules.only_loopback and name in rules.names)
    return address.is_loopback or not rules.only_loopback


def _name(host: str) -> str:
    """The part before the port, lower case."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            message = {**message, "headers": [*given, *_HEADERS]}
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(scope, send, refusal.status, f"armlet console: {refusal.said}\n", [])


async def _answer(
    scope: Scope, send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]]
) -> None:
    kept = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    headers = [*kept, *_HEADERS, *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else text.encode()
    await send({"type": "http.response.body", "body": body})

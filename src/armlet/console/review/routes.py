"""What a browser fetches of a dataset beside the page: an episode's rows, its videos, a score card.

Names of cameras and files never stand in an address: datasets by their key, cameras by their place
in the list. A video is served from the dataset's own file, in the ranges that are asked for.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

import cv2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from armlet.datasets import Dataset, DatasetError
from armlet.files import FileError, check_file

from .episodes import said
from .library import Library, LibraryError, Place, episode_number, number_of
from .tracks import tracks

ROOT = "/datasets"
_QUALITY = 85
_LONGEST_STATE = 16
_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska"}
# The card runs no script by its own policy; were it broken out of, this still holds.
_CARD_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'",
    "cache-control": "no-store",
}


def address(what: str, key: str, **values: object) -> str:
    """The address of an episode, a video, a picture or a card."""
    return f"{ROOT}/{what}?{urlencode({'dataset': key, **values})}"


def routes(library: Library, card_of: Callable[[Place], str | None]) -> list[Route]:
    """What is served. Everything that reads a disk does so in another thread.

    card_of: the score card of a dataset; None while there is none.
    """
    decoding = threading.Lock()  # one picture at a time: a core is all that looking may cost

    def episode(request: Request) -> Response:
        key, dataset, number = _asked(library, request)
        found = asdict(tracks(dataset, number))
        for place, video in enumerate(found["videos"]):
            # The state: a browser keeps no video of another one.
            state = request.query_params.get("state", "")
            asked = {"episode": number, "camera": place, "state": state[:_LONGEST_STATE]}
            video["url"] = address("video", key, **asked)
            video["picture_url"] = address("picture", key, **asked)
        return Response(
            json.dumps(found, allow_nan=False),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    def video(request: Request) -> Response:
        _, dataset, number = _asked(library, request)
        found = dataset.video(number, _camera(dataset, request))
        if found is None:
            raise LibraryError("its pictures are no video; fetch them one by one")
        check_file(found.path)  # a named pipe would be waited for
        kind = _TYPES.get(found.path.suffix.lower(), "application/octet-stream")
        return FileResponse(found.path, media_type=kind, headers={"cache-control": "no-cache"})

    def picture(request: Request) -> Response:
        _, dataset, number = _asked(library, request)
        row = number_of(request.query_params.get("row", ""), "row", dataset.episodes[number].length)
        with decoding:
            (pixels,) = dataset.images(number, _camera(dataset, request), [row])
            done, content = cv2.imencode(
                ".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            )
        assert done
        return Response(
            content.tobytes(), media_type="image/jpeg", headers={"cache-control": "no-store"}
        )

    def card(request: Request) -> Response:
        found = card_of(library.place(request.query_params.get("dataset", "")))
        if found is None:
            raise LibraryError("there is no score card of it yet; check the dataset first")
        return Response(found, media_type="text/html", headers=_CARD_HEADERS)

    handlers = {"episode": episode, "video": video, "picture": picture, "card": card}
    return [
        Route(f"{ROOT}/{name}", _elsewhere(handler), methods=["GET"])
        for name, handler in handlers.items()
    ]


def _asked(library: Library, request: Request) -> tuple[str, Dataset, int]:
    key = request.query_params.get("dataset", "")
    dataset = library.open(key)
    return key, dataset, episode_number(dataset, request.query_params.get("episode", ""))


def _camera(dataset: Dataset, request: Request) -> str:
    names = list(dataset.info.cameras)
    if not names:
        raise LibraryError("the dataset has no cameras")
    return names[number_of(request.query_params.get("camera", ""), "camera", len(names))]


def _elsewhere(handler: Callable[[Request], Response]) -> Any:
    """The handler in another thread; why it has nothing to give, as text."""

    def answered(request: Request) -> Response:
        try:
            return handler(request)
        except (LibraryError, DatasetError, FileError, OSError) as error:
            return PlainTextResponse(said(error) + "\n", 404, headers={"cache-control": "no-store"})

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(answered, request)

    return endpoint

"""Videos of trials for a browser: of those that the page lists, nothing else."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from armlet.console.review.library import number_of

from .shelf import TROUBLES, Shelf, said

VIDEO = "/evaluate/video"
_LARGEST_SEED = 2**31


def address(key: str, side: str, seed: int) -> str:
    """The address of what the policy saw in a trial."""
    return f"{VIDEO}?{urlencode({'trials': key, 'side': side, 'seed': seed})}"


def routes(shelf: Shelf) -> list[Route]:
    """What is served; whatever reads a disk does so in another thread."""

    def video(request: Request) -> Response:
        asked = request.query_params
        try:
            seed = number_of(asked.get("seed", ""), "seed", _LARGEST_SEED)
            path = shelf.video(asked.get("trials", ""), asked.get("side", ""), seed)
        except TROUBLES as error:
            none = {"cache-control": "no-store"}
            return PlainTextResponse(f"{said(error)}\n", 404, headers=none)
        headers = {"cache-control": "no-cache"}
        return FileResponse(path, media_type="video/mp4", headers=headers)

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(video, request)

    return [Route(VIDEO, endpoint, methods=["GET"])]

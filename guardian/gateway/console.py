"""The page: its files, read once, and its texts.

Owns where they are found and how they are served. One route a file: nothing of a path ever reaches the file system.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

import guardian
from guardian import texts
from guardian.gateway.problems import JSON, Handler, RefusalError

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": JSON,
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""What may be served; any other file in the folder is not."""


def console_folder() -> Path | None:
    """The folder of the page: inside an installed package, else in the repository; None when there is none."""
    package = Path(guardian.__file__).parent
    for folder in (package / "console", package.parent / "dashboards" / "console"):
        if (folder / "index.html").is_file():
            return folder
    return None


def add_routes(router: web.UrlDispatcher, folder: Path | None) -> None:
    """``/`` and every file of the page, and its texts per language."""
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.suffix in _TYPES and path.is_file():
            served = _file(path.read_bytes(), _TYPES[path.suffix])
            name = path.relative_to(folder).as_posix() if folder else ""
            router.add_get(f"/{name}", served)
            if name == "index.html":
                router.add_get("/", served)
    for language in texts.LANGUAGES:
        router.add_get(f"/texts/page.{language}.json", _texts(language))


def _file(data: bytes, content_type: str) -> Handler:
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Content-Type": content_type, "ETag": tag, "Cache-Control": "no-cache"}

    async def served(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
        return web.Response(body=data, headers=headers)

    return served


def _texts(language: texts.Language) -> Handler:
    async def served(_request: web.Request) -> web.Response:
        try:
            catalogue = texts.catalogue("page", language)
        except FileNotFoundError:
            raise RefusalError(404, "not_found", "the page has no texts in this installation") from None
        return web.Response(body=msgspec.json.encode(catalogue), content_type=JSON)

    return served

"""Assets: the static files, held in memory and served under names that carry their hash, so that a browser keeps them for good."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

STATIC_DIRECTORY = Path(__file__).parent / "static"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_CSS_URL = re.compile(r'url\("([^":]+)"\)')
_IMMUTABLE = "public, max-age=31536000, immutable"


class Asset(msgspec.Struct, frozen=True):
    """One file as it is sent; `compressed` is None where gzip would gain nothing."""

    media_type: str
    content: bytes
    compressed: bytes | None


class Assets:
    """Every file of a directory whose type we serve, by its hashed name."""

    def __init__(self, directory: Path = STATIC_DIRECTORY) -> None:
        self._hashed: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        paths = sorted(path for path in directory.rglob("*") if path.suffix in _MEDIA_TYPES)
        for path in sorted(paths, key=lambda path: path.suffix == ".css"):  # stylesheets last: they name the others
            self._add(path.relative_to(directory).as_posix(), path)

    def _add(self, name: str, path: Path) -> None:
        content = path.read_bytes()
        if path.suffix == ".css":
            content = _CSS_URL.sub(lambda match: f'url("{self.url(match[1])}")', content.decode()).encode()
        compressed = None if path.suffix == ".woff2" else gzip.compress(content, 9, mtime=0)
        hashed = f"{path.stem}.{sha256(content).hexdigest()[:16]}{path.suffix}"
        self._hashed[name] = hashed
        self._assets[hashed] = Asset(_MEDIA_TYPES[path.suffix], content, compressed)

    def url(self, name: str) -> str:
        """Return the address of a file, named by its path in the directory; raises KeyError if there is none."""
        return f"/static/{self._hashed[name]}"

    def text(self, name: str) -> str:
        """Return a file's text, for what stands in every page."""
        return self._assets[self._hashed[name]].content.decode()

    async def serve(self, request: Request) -> Response:
        """Answer with the file of a hashed name."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        headers = {"Cache-Control": _IMMUTABLE}
        if asset.compressed is None or "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(asset.content, media_type=asset.media_type, headers=headers)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)

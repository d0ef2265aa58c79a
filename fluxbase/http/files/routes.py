"""The routes of files, as one list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from fluxbase.http.files.objects import ObjectRoute
from fluxbase.http.files.resumable import ResumableRoute

if TYPE_CHECKING:
    from fluxbase.http.files.entry import Rooms

_METHODS = ["GET", "HEAD", "PUT", "DELETE"]


def file_routes(rooms: Rooms, api: str, most: int) -> list[Route]:
    """Return every route; `most` is the largest file in bytes."""
    base = f"{api}/storage"
    resumable = ResumableRoute(rooms, f"{base}/upload/resumable", most)
    return [
        Route(f"{base}/upload/resumable", resumable),
        Route(f"{base}/upload/resumable/{{upload}}", resumable),
        Route(f"{base}/{{bucket}}/{{key:path}}", ObjectRoute(rooms), methods=_METHODS),
    ]

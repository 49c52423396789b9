"""`/api/v1/folders`: the folders in which a user keeps chats."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from app.api import http
from app.api.chats.schemas import FolderId
from app.db.folders import Folder
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("api_folders", __name__, url_prefix="/api/v1/folders")


class FolderObject(msgspec.Struct, kw_only=True):
    """A folder. instructions: for all its chats that have none of their own; model: of chats that
    begin in it, null for the default one; chats: how many are in it."""

    id: FolderId
    name: str
    instructions: str
    model: str | None
    chats: int
    created_at: float
    object: Literal["folder"] = "folder"


class FolderList(msgspec.Struct):
    data: list[FolderObject]
    object: Literal["list"] = "list"


class NewFolder(msgspec.Struct, kw_only=True):
    name: str
    instructions: str = ""
    model: str | None = None


class FolderChange(msgspec.Struct, kw_only=True):
    """Changes to a folder; what is left out stays as it is."""

    name: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET


def _object(folder: Folder) -> FolderObject:
    return FolderObject(
        id=folder.id,
        name=folder.name,
        instructions=folder.instructions,
        model=folder.model or None,
        chats=folder.chats,
        created_at=folder.created_at,
    )


@blueprint.get("")
async def list_folders() -> Response:
    found = await server_context().folders.all(current_user())
    return http.json_response(FolderList([_object(folder) for folder in found]))


@blueprint.post("")
async def create() -> Response:
    body = await http.parse_body(NewFolder)
    made = await server_context().folders.add(
        current_user(), body.name, body.instructions, body.model or ""
    )
    return http.json_response(_object(made), status=201)


@blueprint.get("/<int:folder_id>")
async def get(folder_id: int) -> Response:
    return http.json_response(
        _object(await server_context().folders.get(current_user(), folder_id))
    )


@blueprint.patch("/<int:folder_id>")
async def change(folder_id: int) -> Response:
    folders, user_id = server_context().folders, current_user()
    old, body = await folders.get(user_id, folder_id), await http.parse_body(FolderChange)
    await folders.change(
        *(user_id, folder_id),
        old.name if body.name is UNSET else body.name,
        old.instructions if body.instructions is UNSET else body.instructions,
        old.model if body.model is UNSET else (body.model or ""),
    )
    return http.json_response(_object(await folders.get(user_id, folder_id)))


@blueprint.delete("/<int:folder_id>")
async def remove(folder_id: int) -> Response:
    """Delete a folder; its chats stay."""
    await server_context().folders.remove(current_user(), folder_id)
    return Response(status=204)

"""The page of a folder's documents: added, replaced, removed, shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quart import Blueprint, Response, request

from app.errors import AttachmentRefused, ChatNotFound
from app.web.addresses import row_id
from app.web.context import server_context
from app.web.pages.documents import document_page
from app.web.render.frame import render_page
from app.web.security.identity import current_user

MAX_AT_ONCE: Final = 50
blueprint = Blueprint("folder_documents", __name__, url_prefix="/folders/<int:folder_id>/documents")
add_blueprint = Blueprint("add_folder_documents", __name__, url_prefix="/folder-documents")


@blueprint.get("")
async def page(folder_id: int) -> Response:
    return await render_page("folder_documents.html", **await _values(folder_id))


@add_blueprint.post("")
async def add() -> str:
    """Add the files of a form to the folder `?folder=`; what can't be read is said for each."""
    context, problems = server_context(), list[str]()
    if (folder_id := request.args.get("folder", type=row_id)) is None:
        raise ChatNotFound("There is no such folder.")
    await context.folders.get(current_user(), folder_id)
    for file in (await request.files).getlist("file")[:MAX_AT_ONCE]:
        try:
            await context.folder_documents.add(
                current_user(), folder_id, file.filename or "document", file.read()
            )
        except AttachmentRefused as error:
            problems.append(str(error))
    return await _list(folder_id, problems)


@blueprint.delete("/<int:file_id>")
async def remove(folder_id: int, file_id: int) -> str:
    await server_context().folder_documents.remove(current_user(), folder_id, file_id)
    return await _list(folder_id)


@blueprint.get("/<int:file_id>")
async def document(folder_id: int, file_id: int) -> Response:
    context, here = server_context(), f"/folders/{folder_id}/documents"
    found = await context.folder_documents.get(current_user(), folder_id, file_id)
    search = context.saved.document_search
    return await document_page(search, found, set(), f"{here}/{file_id}", here, "All documents")


@blueprint.post("/sharing")
async def share(folder_id: int) -> str:
    is_shared = "shared" in await request.form
    await server_context().folder_documents.share(current_user(), folder_id, is_shared=is_shared)
    return await _list(folder_id)


@blueprint.post("/use")
async def use(folder_id: int) -> str:
    """Use the documents of the shared folder `?source=`, or no longer."""
    source, form = request.args.get("source", type=row_id), await request.form
    if source is None:
        raise ChatNotFound("There is no such folder.")
    await server_context().folder_documents.use(
        current_user(), folder_id, source, is_used="used" in form
    )
    return await _list(folder_id)


async def _list(folder_id: int, problems: Sequence[str] = ()) -> str:
    values = await _values(folder_id, problems)
    return server_context().fragments.render("_folder_documents.html", **values)


async def _values(folder_id: int, problems: Sequence[str] = ()) -> dict[str, Any]:
    context, user_id = server_context(), current_user()
    documents = context.folder_documents
    return {
        "folder": await context.folders.get(user_id, folder_id),
        "documents": await documents.all(user_id, folder_id),
        "is_shared": await documents.is_shared(user_id, folder_id),
        "sources": await documents.shared_by_others(user_id, folder_id),
        "has_accounts": context.settings.has_accounts,
        "problems": problems,
    }

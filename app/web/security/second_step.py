"""The second step of a login: between the password and the code, a cookie holds its ticket."""

from __future__ import annotations

from quart import redirect, request
from werkzeug.sansio.response import Response as SansIOResponse
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.sessions import STEP_COOKIE
from app.db.users import User
from app.web.context import server_context
from app.web.security import auth

PATH = "/login/code"


async def require_code(user: User, back: str) -> WerkzeugResponse | None:
    """Redirect a browser whose password was right to the page that asks for a code.

    Returns None for a user who has not turned codes on.
    """
    if not user.has_codes:
        return None
    response = redirect(PATH, 303)
    ticket = await server_context().codes.begin_login(user.id, back)
    auth.set_cookie(response, STEP_COOKIE, ticket, is_secure=request.is_secure)
    return response


def pending_ticket() -> str:
    """Return the ticket of the login that this browser has begun; empty for none."""
    return auth.read_cookie(request.cookies, STEP_COOKIE, is_secure=request.is_secure)


def forget_ticket(response: SansIOResponse) -> None:
    auth.delete_cookie(response, STEP_COOKIE, is_secure=request.is_secure)

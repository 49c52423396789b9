"""What a form must carry to show that one of our own pages has sent it.

Behind the check of the Origin, which browsers send, this is a second door: a token of the login, in
a header that htmx adds to everything it sends (`templates/_body.html`), or in a field of a plain
form. Forms of people who are not logged in yet carry what a cookie of theirs says.
"""

from __future__ import annotations

import hmac
import secrets

from quart import Response, request

from app.accounts.shown import CSRF_COOKIE, CSRF_HEADER
from app.audit import audit
from app.errors import NotAllowed
from app.web import cookies
from app.web.identity import Identity

FIELD = "csrf"
FORM_EXPIRED = "This page is out of date. Reload it and try again, please."


async def check(who: Identity) -> None:
    """Raises NotAllowed."""
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.mimetype == "application/x-www-form-urlencoded":
        given = (await request.form).get(FIELD, "")
    if not _same(given, who.csrf):
        audit("refused", what="CSRF token", user=who.user_id, address=request.remote_addr)
        raise NotAllowed(FORM_EXPIRED)


def new_token() -> str:
    """For a form of somebody who is not logged in; `store_token` puts it into their cookie."""
    known = cookies.read(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return known or secrets.token_urlsafe(16)


def store_token(response: Response, token: str) -> None:
    cookies.put(response, CSRF_COOKIE, token, is_secure=request.is_secure)


async def is_own_form() -> bool:
    """Whether a form of somebody who is not logged in comes from the page they were given."""
    kept = cookies.read(request.cookies, CSRF_COOKIE, is_secure=request.is_secure)
    return _same((await request.form).get(FIELD, ""), kept)


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())

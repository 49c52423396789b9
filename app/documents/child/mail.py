"""E-mail: who wrote to whom and when, what it is about, and what it says."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage
from typing import Final

from app.documents.child.limits import CannotRead
from app.documents.child.text import Pages
from app.documents.child.web_page import to_markdown
from app.documents.protocol import PageRead

_HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the message; of files in it only the names. Raises CannotRead."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not any(message[name] for name in _HEADERS):
        raise CannotRead("damaged")
    head = [f"{name}: {' '.join(str(message[name]).split())}" for name in _HEADERS if message[name]]
    names = [name for part in message.iter_attachments() if (name := part.get_filename())]
    if names:
        head.append(f"Attached: {', '.join(names)}")
    return Pages(["\n".join(head) + "\n\n" + _body(message)], unit=None)


def _body(message: EmailMessage) -> str:
    """The text of a message: as it was written, else made of its HTML."""
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    content: str = body.get_content()
    return to_markdown(content) if body.get_content_type() == "text/html" else content

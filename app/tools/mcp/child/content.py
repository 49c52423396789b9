"""What MCP servers return, as text for models and as parts of attachments."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable

from mcp import types

from app.tools.mcp.protocol import MAX_PARTS, MAX_RESULT_CHARS, ResourcePart


def result_text(result: types.CallToolResult) -> str:
    """Put the result of a call into words, cut to what a model may be given."""
    text = "\n\n".join(filter(None, (_block_text(block) for block in result.content)))
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return cut(text, MAX_RESULT_CHARS)


def prompt_text(result: types.GetPromptResult) -> str:
    """Join the messages of a prompt to one, which its user can change and send."""
    many = len(result.messages) > 1
    blocks = []
    for message in result.messages:
        text = _block_text(message.content)
        is_answer = many and message.role == "assistant"
        blocks.append(f"Assistant: {text}" if is_answer else text)
    return cut("\n\n".join(filter(None, blocks)), MAX_RESULT_CHARS)


def resource_parts(result: types.ReadResourceResult) -> tuple[ResourcePart, ...]:
    """Decode the parts of a resource; what is no base64 is left out."""
    return tuple(_parts(result.contents[:MAX_PARTS]))


def _parts(
    contents: Iterable[types.TextResourceContents | types.BlobResourceContents],
) -> Iterable[ResourcePart]:
    for content in contents:
        media_type = (content.mime_type or "")[:100]
        if isinstance(content, types.TextResourceContents):
            yield ResourcePart(media_type, content.text)
            continue
        try:
            yield ResourcePart(media_type, data=base64.b64decode(content.blob))
        except (binascii.Error, ValueError):
            continue


def _block_text(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ImageContent | types.AudioContent):
        what = "picture" if isinstance(block, types.ImageContent) else "sound"
        return f"[A {what} ({block.mime_type[:100]}), which cannot be shown here.]"
    if isinstance(block, types.ResourceLink):
        return f"{block.title or block.name}: {block.uri}"
    if isinstance(block.resource, types.TextResourceContents):
        return block.resource.text
    return f"[A file: {block.resource.uri}]"


def cut(text: str, most: int) -> str:
    """Cut a long text, and say so."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[Cut here: {len(text) - most:,} more characters.]"

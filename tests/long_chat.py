"""Long chats without waiting for a model: written straight into the database."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

ANSWER = """Here is what I know about point {n}.

1. It has **parts**, and `names` for them.
2. Each part does *one* thing, see [the page](https://example.org/{n}).

```python
def point_{n}(value: int) -> str:
    \"\"\"What is said here is number {n}.\"\"\"
    return "x" * value  # {n}
```

| part | weight |
|---|---:|
| first | {n} |
| second | 2 |

> And that, number {n}, was all there is to say about it.
"""


def plant(database: Path, count: int, title: str = "A long chat") -> str:
    """A chat of `count` messages, questions and rich answers in turn; its id."""
    chat_id, now = secrets.token_hex(8), time.time()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(
            "INSERT INTO chats (id, user_id, title, model, created_at, updated_at)"
            " VALUES (?, 1, ?, 'tiny', ?, ?)",
            (chat_id, title, now, now),
        )
        leaf: int | None = None
        for number in range(1, count + 1):
            role = "user" if number % 2 else "assistant"
            text = f"Question {number}?" if number % 2 else ANSWER.format(n=number)
            leaf = connection.execute(
                "INSERT INTO messages (chat_id, parent_id, role, text, status, model, created_at)"
                " VALUES (?, ?, ?, ?, 'done', ?, ?)",
                (chat_id, leaf, role, text, None if number % 2 else "tiny", now),
            ).lastrowid
        connection.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", (leaf, chat_id))
    return chat_id

-- Files that a person gives to a model: of a message, or of one that is still being written.
CREATE TABLE attachments (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- NULL until the message is sent.
    message_id INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    -- Among those of its message, from 0.
    place      INTEGER NOT NULL DEFAULT 0,
    name       TEXT NOT NULL,
    -- 'text'; what it is to the page and to models.
    kind       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    -- Of the file: its bytes, and their SHA-256.
    size       INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    -- What a model is given of it, and about how many tokens that is.
    text       TEXT NOT NULL,
    tokens     INTEGER NOT NULL,
    created_at REAL NOT NULL
) STRICT;

CREATE INDEX attachments_of_message ON attachments (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX attachments_unsent ON attachments (user_id, id) WHERE message_id IS NULL;

-- What people use in a day, and the links by which they let others read a chat.

-- Tokens that were evaluated for somebody on one day of this machine's calendar (2026-11-25).
CREATE TABLE usage (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    day     TEXT NOT NULL,
    tokens  INTEGER NOT NULL,
    PRIMARY KEY (user_id, day)
) STRICT, WITHOUT ROWID;

-- A link is a random token, of which only the hash is kept. One for each chat at most.
CREATE TABLE shares (
    chat_id    TEXT PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    token_hash BLOB NOT NULL UNIQUE,
    created_at REAL NOT NULL
) STRICT;

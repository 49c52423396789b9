-- People, their chats, the messages of a chat (a tree), and the text of answers being written.
-- Times are seconds since 1970 (UTC) as REAL.

CREATE TABLE users (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL
) STRICT;

-- Until accounts exist everything belongs to this one.
INSERT INTO users (id, name, created_at) VALUES (1, 'local', unixepoch());

CREATE TABLE chats (
    id         TEXT PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title      TEXT NOT NULL,
    model      TEXT NOT NULL,
    -- The last message of the path through the tree that is shown.
    leaf_id    INTEGER,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    -- In the trash since; removed for good later.
    deleted_at REAL
) STRICT;

CREATE INDEX chats_of_user ON chats (user_id, updated_at DESC) WHERE deleted_at IS NULL;
CREATE INDEX chats_in_trash ON chats (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE messages (
    id                INTEGER PRIMARY KEY,
    chat_id           TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    parent_id         INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    role              TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text              TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN ('queued', 'done', 'stopped', 'failed', 'interrupted')),
    -- Made by the server for one submission, so that a resend is recognised.
    client_id         TEXT,
    model             TEXT,
    -- Why an answer failed or was interrupted, a sentence for the person.
    error             TEXT,
    -- How it ended: 'stop' at an end token, 'length' at a limit.
    finish_reason     TEXT,
    prompt_tokens     INTEGER,
    cached_tokens     INTEGER,
    completion_tokens INTEGER,
    prefill_seconds   REAL,
    decode_seconds    REAL,
    first_token_seconds REAL,
    -- How many of the oldest messages did not fit the context window of this answer.
    dropped           INTEGER NOT NULL DEFAULT 0,
    created_at        REAL NOT NULL,
    finished_at       REAL
) STRICT;

CREATE INDEX messages_of_chat ON messages (chat_id);
CREATE INDEX messages_of_parent ON messages (parent_id);
CREATE INDEX messages_unfinished ON messages (id) WHERE status = 'queued';
CREATE UNIQUE INDEX messages_once ON messages (chat_id, client_id) WHERE client_id IS NOT NULL;

-- The text so far of an answer that runs, so that the message row is written once.
CREATE TABLE checkpoints (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    text       TEXT NOT NULL,
    saved_at   REAL NOT NULL
) STRICT;

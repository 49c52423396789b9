-- What a person keeps to use again: prompts, put into a message by their names, and personas, with
-- which chats begin.
CREATE TABLE saved_prompts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- As it is typed after a slash.
    name       TEXT NOT NULL,
    -- With blanks as {{words}}.
    text       TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

CREATE TABLE personas (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id      INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    emoji        TEXT NOT NULL,
    instructions TEXT NOT NULL,
    -- Shown before the first message of a chat.
    greeting     TEXT NOT NULL,
    -- Empty for the one that new chats have.
    model        TEXT NOT NULL,
    -- As JSON: an object as in chat_settings, and a list of texts.
    settings     TEXT NOT NULL,
    starters     TEXT NOT NULL,
    picture      BLOB,
    picture_type TEXT,
    created_at   REAL NOT NULL,
    updated_at   REAL NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

-- With which persona a chat has begun. Its settings were copied then.
CREATE TABLE chat_personas (
    chat_id    TEXT PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    persona_id INTEGER NOT NULL REFERENCES personas (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX chats_with_persona ON chat_personas (persona_id);

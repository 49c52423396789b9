-- What a person chose for one chat, as JSON, also before its first message makes it exist; what is
-- not in it is the model's default.
CREATE TABLE chat_settings (
    chat_id    TEXT PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    settings   TEXT NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE TRIGGER settings_go_with_their_chat AFTER DELETE ON chats BEGIN
    DELETE FROM chat_settings WHERE chat_id = old.id;
END;

-- How many tokens the window of this answer could hold.
ALTER TABLE messages ADD COLUMN context_length INTEGER;

-- Messages that were deleted, whole, so that this can be taken back for a while. `message_id` is
-- the topmost one; `rows` is all of them as JSON, parents first.
CREATE TABLE removed (
    message_id INTEGER PRIMARY KEY,
    chat_id    TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    rows       TEXT NOT NULL,
    leaf_id    INTEGER,
    newest_id  INTEGER NOT NULL,
    removed_at REAL NOT NULL
) STRICT;

CREATE INDEX removed_of_chat ON removed (chat_id);

-- Folders in which users keep chats. What a folder says holds for its chats, unless a chat itself
-- says otherwise; its model is that of chats that begin in it.
CREATE TABLE folders (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id      INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    instructions TEXT NOT NULL DEFAULT '',
    model        TEXT NOT NULL DEFAULT '',
    -- In the list of chats only its name is shown.
    is_folded    INTEGER NOT NULL DEFAULT 0,
    created_at   REAL NOT NULL
) STRICT;

CREATE INDEX folders_of_user ON folders (user_id);

ALTER TABLE chats ADD COLUMN folder_id INTEGER REFERENCES folders (id) ON DELETE SET NULL;
CREATE INDEX chats_in_folder ON chats (folder_id, updated_at DESC) WHERE folder_id IS NOT NULL;

-- Chats that are pinned, put away or unread, where imported ones came from, and the search index.

ALTER TABLE chats ADD COLUMN pinned_at REAL;
ALTER TABLE chats ADD COLUMN archived_at REAL;
-- An answer ended while its person had the chat open nowhere.
ALTER TABLE chats ADD COLUMN is_unread INTEGER NOT NULL DEFAULT 0;
-- What an imported chat was called where it came from, so that it is not imported twice.
ALTER TABLE chats ADD COLUMN import_key TEXT;
-- The row of the search index. A rowid of its own would not survive VACUUM, because `id` is text.
ALTER TABLE chats ADD COLUMN number INTEGER;

UPDATE chats SET number = rowid;
CREATE UNIQUE INDEX chats_numbers ON chats (number);
CREATE UNIQUE INDEX chats_imported ON chats (user_id, import_key) WHERE import_key IS NOT NULL;

-- Each list is read a page at a time, from a row on: these are the lists.
DROP INDEX chats_of_user;
CREATE INDEX chats_listed ON chats (user_id, updated_at DESC, id DESC)
    WHERE deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NULL;
CREATE INDEX chats_pinned ON chats (user_id, pinned_at DESC, id DESC)
    WHERE deleted_at IS NULL AND archived_at IS NULL AND pinned_at IS NOT NULL;
CREATE INDEX chats_archived ON chats (user_id, archived_at DESC, id DESC)
    WHERE deleted_at IS NULL AND archived_at IS NOT NULL;
CREATE INDEX chats_trashed ON chats (user_id, deleted_at DESC, id DESC)
    WHERE deleted_at IS NOT NULL;

-- The indexes hold no text of their own. What is taken out of one must be exactly what was put in,
-- so only these triggers write to them.
CREATE VIRTUAL TABLE titles_index USING fts5 (
    title, content = 'chats', content_rowid = 'number',
    tokenize = 'unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE messages_index USING fts5 (
    text, content = 'messages', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO titles_index (titles_index) VALUES ('rebuild');
INSERT INTO messages_index (messages_index) VALUES ('rebuild');

CREATE TRIGGER chats_inserted AFTER INSERT ON chats BEGIN
    UPDATE chats SET number = (SELECT coalesce(max(number), 0) + 1 FROM chats) WHERE id = new.id;
    INSERT INTO titles_index (rowid, title) SELECT number, title FROM chats WHERE id = new.id;
END;
CREATE TRIGGER chats_renamed AFTER UPDATE OF title ON chats BEGIN
    INSERT INTO titles_index (titles_index, rowid, title) VALUES ('delete', old.number, old.title);
    INSERT INTO titles_index (rowid, title) VALUES (new.number, new.title);
END;
CREATE TRIGGER chats_deleted AFTER DELETE ON chats BEGIN
    INSERT INTO titles_index (titles_index, rowid, title) VALUES ('delete', old.number, old.title);
END;

CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
    INSERT INTO messages_index (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER messages_rewritten AFTER UPDATE OF text ON messages BEGIN
    INSERT INTO messages_index (messages_index, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO messages_index (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
    INSERT INTO messages_index (messages_index, rowid, text) VALUES ('delete', old.id, old.text);
END;

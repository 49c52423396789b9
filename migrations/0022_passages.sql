-- Texts of files, cut into passages that are searched when a text does not fit a model's window.
CREATE TABLE documents (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the text: files with the same text share its passages.
    digest   TEXT NOT NULL,
    -- How many it has, once all are there; NULL while it is being cut.
    passages INTEGER,
    -- About how many they are together.
    tokens   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (user_id, digest)
) STRICT;

CREATE TABLE passages (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    -- In its document, from 0; and the page it is on, 0 where there are none.
    number      INTEGER NOT NULL,
    page        INTEGER NOT NULL,
    -- The headings it stands under.
    heading     TEXT NOT NULL,
    text        TEXT NOT NULL,
    -- Of what is written without spaces: each two signs that follow each other.
    grams       TEXT NOT NULL,
    tokens      INTEGER NOT NULL,
    UNIQUE (document_id, number)
) STRICT;

CREATE INDEX passages_of_user ON passages (user_id);

CREATE VIRTUAL TABLE passages_index USING fts5 (
    heading, text, grams, content = 'passages', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER passages_inserted AFTER INSERT ON passages BEGIN
    INSERT INTO passages_index (rowid, heading, text, grams)
    VALUES (new.id, new.heading, new.text, new.grams);
END;
CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
    INSERT INTO passages_index (passages_index, rowid, heading, text, grams)
    VALUES ('delete', old.id, old.heading, old.text, old.grams);
END;

ALTER TABLE attachments ADD COLUMN document_id INTEGER REFERENCES documents (id) ON DELETE SET NULL;
CREATE INDEX attachments_of_document ON attachments (document_id) WHERE document_id IS NOT NULL;

-- Documents of attachments that were deleted; they go when no other attachment has them.
CREATE TABLE freed_documents (
    id INTEGER PRIMARY KEY
) STRICT;

CREATE TRIGGER document_freed AFTER DELETE ON attachments WHEN old.document_id IS NOT NULL BEGIN
    INSERT OR IGNORE INTO freed_documents (id) VALUES (old.document_id);
END;

-- What an answer was given of files that did not fit, as JSON: files and their passages.
ALTER TABLE messages ADD COLUMN sources TEXT;

-- Documents of folders: attachments that belong to no message.
ALTER TABLE attachments ADD COLUMN folder_id INTEGER REFERENCES folders (id) ON DELETE CASCADE;
CREATE INDEX attachments_in_folder ON attachments (folder_id) WHERE folder_id IS NOT NULL;
-- Whether other users may have their folders use its documents, which they can't change.
ALTER TABLE folders ADD COLUMN is_shared INTEGER NOT NULL DEFAULT 0;

-- Folders that use the documents of another user's folder, for as long as that is shared.
CREATE TABLE used_folders (
    folder_id INTEGER NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
    source_id INTEGER NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
    PRIMARY KEY (folder_id, source_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX users_of_folder ON used_folders (source_id);

-- Pictures: attachments of the kind 'image', whose files lie in the data folder by their digest.
-- Their `text` is what was read in them, which a model that sees no pictures is given.
ALTER TABLE attachments ADD COLUMN width INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attachments ADD COLUMN height INTEGER NOT NULL DEFAULT 0;
-- What it shows, in the user's words.
ALTER TABLE attachments ADD COLUMN alt TEXT NOT NULL DEFAULT '';
-- 0: its text is left out.
ALTER TABLE attachments ADD COLUMN gives_text INTEGER NOT NULL DEFAULT 1;

CREATE INDEX attachments_of_digest ON attachments (digest) WHERE kind = 'image';

-- Pictures of attachments that were deleted, whose files go when no other attachment has them.
CREATE TABLE freed_pictures (
    digest TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TRIGGER picture_freed AFTER DELETE ON attachments WHEN old.kind = 'image' BEGIN
    INSERT OR IGNORE INTO freed_pictures (digest) VALUES (old.digest);
END;

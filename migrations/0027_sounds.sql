-- Sounds: attachments of the kind 'audio', whose files lie beside those of pictures.
DROP INDEX attachments_of_digest;
CREATE INDEX attachments_of_digest ON attachments (digest) WHERE kind IN ('image', 'audio');

DROP TRIGGER picture_freed;
CREATE TRIGGER picture_freed AFTER DELETE ON attachments
WHEN old.kind IN ('image', 'audio') BEGIN
    INSERT OR IGNORE INTO freed_pictures (digest) VALUES (old.digest);
END;

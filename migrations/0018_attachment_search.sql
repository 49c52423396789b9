-- What is in the files of messages can be searched, and their tokens are those of a tokenizer.

-- The model whose tokenizer counted `tokens`; empty: they are an estimate.
ALTER TABLE attachments ADD COLUMN counted_by TEXT NOT NULL DEFAULT '';

CREATE VIRTUAL TABLE attachments_index USING fts5 (
    name, alt, text, content = 'attachments', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO attachments_index (attachments_index) VALUES ('rebuild');

CREATE TRIGGER attachments_inserted AFTER INSERT ON attachments BEGIN
    INSERT INTO attachments_index (rowid, name, alt, text)
    VALUES (new.id, new.name, new.alt, new.text);
END;
CREATE TRIGGER attachments_rewritten AFTER UPDATE OF name, alt, text ON attachments BEGIN
    INSERT INTO attachments_index (attachments_index, rowid, name, alt, text)
    VALUES ('delete', old.id, old.name, old.alt, old.text);
    INSERT INTO attachments_index (rowid, name, alt, text)
    VALUES (new.id, new.name, new.alt, new.text);
END;
CREATE TRIGGER attachments_deleted AFTER DELETE ON attachments BEGIN
    INSERT INTO attachments_index (attachments_index, rowid, name, alt, text)
    VALUES ('delete', old.id, old.name, old.alt, old.text);
END;

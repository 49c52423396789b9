-- What is on its way in or out: chats of an import that is not whole yet, and chats that are being
-- removed, a few rows at a time. Both belong to somebody whom nobody can be, a holder.

ALTER TABLE users ADD COLUMN holds_for INTEGER REFERENCES users (id) ON DELETE CASCADE;
-- Everything of it has been written: its chats go to the person. Else they go for good.
ALTER TABLE users ADD COLUMN is_whole INTEGER NOT NULL DEFAULT 0;
CREATE INDEX users_holding ON users (holds_for) WHERE holds_for IS NOT NULL;

-- Figures that came with an import are shown with their answer, and are no measurement of a model.
-- Of imported chats that go on here nothing tells the two apart, so earlier ones do not count.
ALTER TABLE messages ADD COLUMN is_imported INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET is_imported = 1
    WHERE chat_id IN (SELECT id FROM chats WHERE import_key IS NOT NULL);
DROP INDEX messages_measured;
CREATE INDEX messages_measured ON messages (model, id) WHERE decode_seconds > 0 AND is_imported = 0;

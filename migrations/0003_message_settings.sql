ALTER TABLE messages ADD COLUMN settings TEXT;

-- The documents that an answer's model was given, and how many pages of each, as JSON.
ALTER TABLE messages ADD COLUMN documents TEXT;

-- The tools that an answer has called, in their order, as a JSON list: each call with its result.
ALTER TABLE messages ADD COLUMN calls TEXT;

-- The tools that are on in a chat, as a JSON object: their names, and 'ask' or 'allow'.
ALTER TABLE chat_settings ADD COLUMN tools TEXT NOT NULL DEFAULT '{}';

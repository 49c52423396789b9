-- With what each answer is made (sampling, limits, system prompt), as JSON, kept since it was asked for.
ALTER TABLE messages ADD COLUMN settings TEXT;

-- How fast each model has been lately.
CREATE INDEX messages_measured ON messages (model, id) WHERE decode_seconds > 0;

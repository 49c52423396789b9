-- What a model reasoned before an answer, and for how long; both are no part of the answer's text.
ALTER TABLE messages ADD COLUMN thought TEXT;
ALTER TABLE messages ADD COLUMN thought_seconds REAL;

-- The same of an answer that runs.
ALTER TABLE checkpoints ADD COLUMN thought TEXT;

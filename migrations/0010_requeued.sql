-- Answers that had not begun when Wick ended are queued again at its next start. Counted is how
-- often Wick died since, so that a question that it cannot survive is not tried without end.

CREATE TABLE requeued (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    times      INTEGER NOT NULL
) STRICT;

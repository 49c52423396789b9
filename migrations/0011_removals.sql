-- Messages that were deleted stay where they are, out of sight, so that this can be taken back for a
-- while: nothing moves, and both ways are one row, however much it is. What was deleted shortly
-- before this step is gone.
DROP TABLE removed;

-- One for each message that was deleted with all that follows it.
CREATE TABLE removals (
    message_id INTEGER PRIMARY KEY,
    chat_id    TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    -- Where the chat's path ended until then.
    leaf_id    INTEGER,
    removed_at REAL NOT NULL,
    -- It is being deleted for good.
    is_final   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX removals_of_chat ON removals (chat_id);

-- What goes with `top`. It means nothing before the removal is there, nor after it was taken back.
CREATE TABLE removed_messages (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    top        INTEGER NOT NULL
) STRICT;

CREATE INDEX removed_with ON removed_messages (top, message_id);

CREATE TRIGGER messages_follow_what_is_removed AFTER INSERT ON messages
WHEN new.parent_id IS NOT NULL BEGIN
    INSERT INTO removed_messages (message_id, top)
    SELECT new.id, top FROM removed_messages WHERE message_id = new.parent_id;
END;

CREATE VIEW hidden_messages (message_id) AS
SELECT m.message_id FROM removed_messages m JOIN removals r ON r.message_id = m.top;

-- What a person chose for all their chats, on whatever device.
CREATE TABLE preferences (
    user_id    INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Goes into the system prompt of new chats.
    about      TEXT NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

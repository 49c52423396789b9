-- Keys with which programs act for a person. A key is a random token that is shown once; only its
-- hash is kept. Ids are never given anew, so that one that was revoked cannot be taken for another.
CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    -- How the key begins, by which its person recognises it.
    hint       TEXT NOT NULL,
    -- What it may be used for, words with spaces between them.
    scopes     TEXT NOT NULL,
    created_at REAL NOT NULL,
    used_at    REAL
) STRICT;

CREATE INDEX api_keys_of_user ON api_keys (user_id);

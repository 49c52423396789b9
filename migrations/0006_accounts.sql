-- Accounts: who may log in, where they are logged in, and the links by which people get in.

ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member'));
-- An argon2 hash. Whoever has none cannot log in.
ALTER TABLE users ADD COLUMN password TEXT;
ALTER TABLE users ADD COLUMN disabled_at REAL;
-- The name as it is compared: two that differ only in capitals or in how letters are composed are one.
ALTER TABLE users ADD COLUMN name_key TEXT;

UPDATE users SET name_key = lower(name);
UPDATE users SET role = 'owner' WHERE id = 1;
CREATE UNIQUE INDEX users_by_key ON users (name_key);

-- A browser in which somebody is logged in. Its cookie is a random token, of which only the hash is
-- kept. Ids are never given anew, so that one that has ended cannot be taken for another.
CREATE TABLE logins (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash    BLOB NOT NULL UNIQUE,
    -- Of the token before the last change, until the browser has shown the new one.
    previous_hash BLOB,
    -- What forms of this login carry, so that no other website can send one.
    csrf          TEXT NOT NULL,
    device        TEXT NOT NULL,
    address       TEXT NOT NULL,
    created_at    REAL NOT NULL,
    seen_at       REAL NOT NULL,
    rotated_at    REAL NOT NULL
) STRICT;

CREATE INDEX logins_of_user ON logins (user_id);
CREATE UNIQUE INDEX logins_before ON logins (previous_hash) WHERE previous_hash IS NOT NULL;

-- A link that works once: for somebody new, or with `user_id` for that person to choose a password.
CREATE TABLE invites (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    token_hash BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('owner', 'member')),
    user_id    INTEGER REFERENCES users (id) ON DELETE CASCADE,
    made_by    INTEGER REFERENCES users (id) ON DELETE CASCADE,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL
) STRICT;

CREATE INDEX invites_of_maker ON invites (made_by);
CREATE INDEX invites_for_user ON invites (user_id);

-- People whose removal has begun: what is theirs is being deleted, and nobody may enter as them.
CREATE TABLE leavers (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    at      REAL NOT NULL
) STRICT;

-- Passkeys: keys of a user's devices, each of which logs them in without a password.
CREATE TABLE passkeys (
    id            INTEGER PRIMARY KEY,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id BLOB NOT NULL UNIQUE,
    -- COSE, as the device gave it.
    public_key    BLOB NOT NULL,
    -- Whose it is, as the device knows it: random, the same for all passkeys of a user.
    user_handle   BLOB NOT NULL,
    -- The host for which it was made; it works nowhere else.
    rp_id         TEXT NOT NULL,
    sign_count    INTEGER NOT NULL,
    name          TEXT NOT NULL,
    created_at    REAL NOT NULL,
    used_at       REAL
) STRICT;

CREATE INDEX passkeys_of_user ON passkeys (user_id);
CREATE INDEX passkeys_of_host ON passkeys (rp_id);

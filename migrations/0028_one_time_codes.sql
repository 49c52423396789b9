-- Users who log in with a code of an app besides their password.
CREATE TABLE one_time_codes (
    user_id    INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Base32, as the app has it: codes are computed from it, so a hash would not do.
    secret     TEXT NOT NULL,
    created_at REAL NOT NULL,
    -- The newest span of 30 seconds whose code was used: none works twice.
    last_step  INTEGER NOT NULL
) STRICT;

-- What they log in with when the app is lost, each once.
CREATE TABLE recovery_codes (
    user_id   INTEGER NOT NULL REFERENCES one_time_codes (user_id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

-- Sessions that an OpenID provider has begun, with what it takes to end them on either side.
CREATE TABLE provider_sessions (
    login_id INTEGER PRIMARY KEY REFERENCES logins (id) ON DELETE CASCADE,
    -- Its name in the settings.
    provider TEXT NOT NULL,
    issuer   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    -- The provider's own session; empty where it names none.
    session  TEXT NOT NULL,
    -- Shows the provider who logs out.
    id_token TEXT NOT NULL,
    -- Then the user has to log in there again.
    ends_at  REAL NOT NULL
) STRICT;

CREATE INDEX provider_sessions_of_subject ON provider_sessions (issuer, subject);

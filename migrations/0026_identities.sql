-- Whom a proxy or a provider means by a name of theirs: it logs that user in, without a password.
CREATE TABLE identities (
    -- The address of the provider, or 'proxy'.
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- How the user recognizes it.
    name       TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;

CREATE INDEX identities_of_user ON identities (user_id);

-- How a session was begun: 'password', 'proxy' ...
ALTER TABLE logins ADD COLUMN method TEXT NOT NULL DEFAULT 'password';

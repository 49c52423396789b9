-- Responses of /v1/responses, from which programs go on by their ids.
CREATE TABLE responses (
    id          TEXT PRIMARY KEY,
    user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The response that this one goes on from. It may be deleted before this one.
    previous_id TEXT,
    -- As JSON: the items that were new in the request, and the response as it was sent.
    input       TEXT NOT NULL,
    response    TEXT NOT NULL,
    -- Characters of both.
    size        INTEGER NOT NULL,
    created_at  REAL NOT NULL
) STRICT;

CREATE INDEX responses_of_user ON responses (user_id, created_at);
CREATE INDEX responses_by_age ON responses (created_at);

-- MCP servers, whose tools, resources and prompts members may use. Owners configure them.
CREATE TABLE mcp_servers (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Its tools' names begin with it.
    name        TEXT NOT NULL UNIQUE,
    -- A program with its arguments as a JSON list, or else an address.
    command     TEXT NOT NULL DEFAULT '',
    arguments   TEXT NOT NULL DEFAULT '[]',
    url         TEXT NOT NULL DEFAULT '',
    -- Variables of the program's environment or headers of requests: a JSON object. Never shown.
    secrets     TEXT NOT NULL DEFAULT '{}',
    access      TEXT NOT NULL CHECK (access IN ('everyone', 'owners', 'chosen')),
    is_on       INTEGER NOT NULL DEFAULT 1,
    -- What it offered when it was last asked (JSON; empty: never), and why that failed.
    offers      TEXT NOT NULL DEFAULT '',
    error       TEXT NOT NULL DEFAULT '',
    last_words  TEXT NOT NULL DEFAULT '',
    checked_at  REAL,
    created_at  REAL NOT NULL
) STRICT;

-- Members who may use a server of access `chosen`.
CREATE TABLE mcp_server_users (
    server_id INTEGER NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    user_id   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (server_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX mcp_servers_of_user ON mcp_server_users (user_id);

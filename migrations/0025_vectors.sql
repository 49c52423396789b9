-- Passages as vectors of an embedding model, for a search by what they mean.
CREATE TABLE passage_vectors (
    passage_id INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the model's file.
    model      TEXT NOT NULL,
    -- Of length 1, in 16-bit floats, the lowest byte first.
    vector     BLOB NOT NULL,
    PRIMARY KEY (passage_id, model)
) STRICT, WITHOUT ROWID;

CREATE INDEX vectors_of_user ON passage_vectors (user_id);

-- Who gave a chat its title: its first words, the model, or the person (whose title stays).
ALTER TABLE chats ADD COLUMN title_source TEXT NOT NULL DEFAULT 'words'
    CHECK (title_source IN ('words', 'model', 'person'));

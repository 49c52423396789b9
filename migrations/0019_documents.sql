-- Documents: attachments of the kind 'document', whose text has a line before each page.
-- How many pages it has; 0 when nobody knows.
ALTER TABLE attachments ADD COLUMN pages INTEGER NOT NULL DEFAULT 0;
-- What of it is not in its text, as a sentence.
ALTER TABLE attachments ADD COLUMN note TEXT NOT NULL DEFAULT '';

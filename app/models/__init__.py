"""The shelf of installed models: files, tokenizers, chat templates, sources."""

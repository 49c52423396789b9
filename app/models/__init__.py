"""Models: the store of installed ones, GGUF files, tokenizers, chat templates, sources."""

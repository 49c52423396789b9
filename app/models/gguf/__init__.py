"""GGUF files: read, checked, converted, split."""

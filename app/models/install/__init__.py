"""Models on their way into the store: downloads, uploads, imports."""

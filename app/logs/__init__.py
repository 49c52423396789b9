"""The log: one line for each thing worth knowing, in text or JSON, and nobody's words."""

"""SQLite. All SQL of Wick lives in this room."""

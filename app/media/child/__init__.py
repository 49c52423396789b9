"""Children that read what users bring. They import neither web nor database, and may die."""

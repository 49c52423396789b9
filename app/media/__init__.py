"""Pictures and sound that users bring, each read in a process of its own."""

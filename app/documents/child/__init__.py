"""The child process that reads documents."""

"""Pictures in the runner: from a file to rows in a sequence."""

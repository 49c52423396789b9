"""The child process: loads one model, schedules sequences, makes tokens."""

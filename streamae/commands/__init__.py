"""One module a command, called by its name: `main(invocation) -> int`, the exit code."""

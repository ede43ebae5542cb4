"""The command line: reads arguments, makes one call, prints the result."""

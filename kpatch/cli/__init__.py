"""The command line: options, calls and exit codes. Only this package touches files."""

"""Fuzzing: ``python -m tests.fuzz SECONDS [TARGET...]``. A target is any bytes to one room."""

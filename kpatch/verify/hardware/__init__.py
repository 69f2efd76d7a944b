"""The parts of a CPU and its memory that are emulated."""

"""System calls that fail, one at a time, in real runs: ``python -m tests.faults``."""

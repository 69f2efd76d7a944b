"""Stateful, exhaustive exploration of a concurrent program, under two memory models."""

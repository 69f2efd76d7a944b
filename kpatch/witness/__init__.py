"""Witnesses that share no code with kpatch: other readers of the file, other machines for it."""

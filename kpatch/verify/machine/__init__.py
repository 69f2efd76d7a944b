"""The emulated machine as a program to explore."""

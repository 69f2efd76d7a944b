"""Tests of the kernel table, of detection and of recognition."""

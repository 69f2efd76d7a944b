"""Tests of kpatch."""

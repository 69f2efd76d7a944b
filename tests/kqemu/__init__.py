"""Tests of what tells kqemu from other modules, and of the source fixes that it may carry."""

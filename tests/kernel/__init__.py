"""Tests of the kernel table and of detection."""

"""Broken patches that the verifier must refute, and odd ones that it must not."""

"""A file as pyelftools and LIEF read it, against what it should be."""

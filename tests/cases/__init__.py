"""What real tools and people make of a module, and what kpatch must say of each.

One table a kind of input, and the inputs are made here: ``odd_modules`` (files that a linker, or a
tool that edits them, may leave), ``packages`` (archives of both pkg tools), ``test_tools`` (what
happens after the patch) and ``test_messages`` (refusals that once misled).
"""

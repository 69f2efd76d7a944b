"""kpatch repairs a compiled kqemu kernel module and proves the repair."""

__version__ = "1.0.0"

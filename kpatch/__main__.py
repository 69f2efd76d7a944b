"""``python -m kpatch``."""

from kpatch.cli.main import main

main()

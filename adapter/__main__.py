"""``python -m adapter``."""

from adapter.cli import main

main()

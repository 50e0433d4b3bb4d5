"""``python -m adapter``."""

from adapter.cli import main

if __name__ == "__main__":  # the development server's processes import this again
    main()

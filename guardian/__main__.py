"""``python -m guardian``."""

from guardian.cli import main

if __name__ == "__main__":
    main()

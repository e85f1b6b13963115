"""``python -m nodes`` is the ``rigpose`` command."""

from nodes.cli import main

if __name__ == "__main__":
    main()

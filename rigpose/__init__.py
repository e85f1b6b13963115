"""The words that every floor of rigpose speaks: errors, skeletons, poses, stamps, messages."""

__version__ = "0.1.0"

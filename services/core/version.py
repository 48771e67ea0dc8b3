"""The product's version, in one place for code; `pyproject.toml` repeats it and a test compares."""

VERSION = "0.1.0"

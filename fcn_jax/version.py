"""The version of the package; `pyproject.toml` reads it without running any code."""

VERSION = "0.1.0"

"""The version, for the package's metadata and for programs that ask."""

__all__ = ["__version__"]

__version__ = "0.1.0"

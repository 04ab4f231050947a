"""The one place where the version stands: the package, the wheel and the notebooks read it here."""

__version__ = "0.1.0"

"""tallyd: the reconciliation controller for plain Docker hosts."""

__version__ = "0.1.0"

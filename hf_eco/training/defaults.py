"""What training takes where nothing is said; read by the command line, so without torch."""

from ..configuration import DEFAULT_ENCODER

__all__ = ["DEFAULT_ENCODER", "EXAMPLES"]

EXAMPLES = 18_000  # five minutes on two cores with the default encoder

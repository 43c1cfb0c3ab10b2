"""What training takes where nothing is said; read by the command line, so without torch."""

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
EXAMPLES = 18_000  # five minutes on two cores with the default encoder

"""Trust: what leaves the warehouse, where it lies and who can read it; providers, projects and texts that mean harm."""

KEY = "sk-trust-" + "4f1d" * 8
"""A key as long as real ones: a shorter one is a word for a server of one's own."""

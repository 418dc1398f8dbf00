"""Promises of the local batch server, kept with the real openai client over HTTP."""

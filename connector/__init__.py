"""LLM labels for warehouse text, at batch price, as part of `dbt build`."""

__version__ = "0.1.0"

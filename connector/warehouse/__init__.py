"""The user's warehouse through dbt: the project, the raw handle, the ledger's tables and the lease."""

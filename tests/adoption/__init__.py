"""`dbt-labels init` in projects that are not ours: what it writes, what it leaves, what it refuses."""

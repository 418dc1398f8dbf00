"""Adoption: what `dbt-labels init` puts into somebody's dbt project, in its own style, and nothing else."""

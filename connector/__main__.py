"""Start the command line: `python -m connector` is `dbt-labels`."""

from connector.cli import main

main()

"""Where the command `dbt-labels` and `python -m connector` begin."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. Ctrl-C while it is still being imported, for a second or two, ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from connector.cli import main as run  # as late as can be

    run()


if __name__ == "__main__":
    main()

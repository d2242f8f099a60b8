"""The ``geoforecast`` command, and ``python -m geoforecast``."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line in a process of its own."""
    # Threads that wait by spinning for long take the processor from the one they wait for: on
    # a machine that is also busy with other work, training was up to ten times slower. A
    # short spin costs nothing on a quiet one. libgomp reads this when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from geoforecast.cli import cli

    cli(prog_name="geoforecast")


if __name__ == "__main__":
    main()

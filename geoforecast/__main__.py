"""The ``geoforecast`` command, and ``python -m geoforecast``."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line in a process of its own."""
    # Threads that wait by spinning take the processor from the one they wait for. On a
    # machine that is also busy with other work, training is then several times slower.
    # OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from geoforecast.cli import cli

    cli(prog_name="geoforecast")


if __name__ == "__main__":
    main()

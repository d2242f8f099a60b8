"""The ``geoforecast`` command, and ``python -m geoforecast``."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line in a process of its own."""
    # Threads that wait by spinning for long take the processor from the one they wait for: on
    # a machine that is also busy with other work, training was up to ten times slower. A
    # short spin costs nothing on a quiet one. libgomp reads this when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from geoforecast.cli import cli
    from geoforecast.system import Signals, launched

    try:
        cli(prog_name="geoforecast", obj=Signals(to_the_end=True))
    except SystemExit as end:
        if launched().size == 1:
            raise
        # The interpreter is not taken down where several processes talk: a thread of gloo that
        # gives a tensor back meanwhile aborts the process, after all is written.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))


if __name__ == "__main__":
    main()

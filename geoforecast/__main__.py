"""``python -m geoforecast``."""

from geoforecast.cli import main

if __name__ == "__main__":
    main()

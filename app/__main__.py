"""Entry point of `python -m app`: the `wick` command."""

import sys

from app.cli import main

sys.exit(main())

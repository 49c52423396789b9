"""`python -m app` is the `wick` command."""

import sys

from app.cli import main

sys.exit(main())

"""``python -m pliant``."""

from pliant.cli.main import main

raise SystemExit(main())

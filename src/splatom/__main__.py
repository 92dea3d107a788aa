"""``python -m splatom``: the same as the command ``splatom``."""

import sys

from splatom.cli import main

sys.exit(main())

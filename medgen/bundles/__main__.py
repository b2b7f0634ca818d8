"""``python -m medgen.bundles``."""

import sys

from medgen.bundles.cli import main

sys.exit(main())

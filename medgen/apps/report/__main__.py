"""``python -m medgen.apps.report``."""

import sys

from medgen.apps.report.compare.command import main

sys.exit(main())

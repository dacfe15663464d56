"""``python -m generation_worker`` is ``generation-worker``."""

import sys

from generation_worker.cli.app import main

sys.exit(main())

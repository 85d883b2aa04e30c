"""`python -m streaming_logger` is the command `streaming-logger`."""

import sys

from streaming_logger.cli._main import main

if __name__ == "__main__":
    sys.exit(main())

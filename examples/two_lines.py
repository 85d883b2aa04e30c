"""The drop-in use, in a directory of its own: one line at each chunk, one at the end of the stream."""

import os
import sys
import tempfile
from pathlib import Path

try:
    from streaming_logger import get_streaming_logger
except ImportError:  # a fresh clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from streaming_logger import get_streaming_logger

ANSWER = ("The", " answer", " is", " 42.")


def main() -> int:
    Path("logging_config.json").write_text('{"streaming_logs": {}}')  # a section, empty: the defaults
    logger = get_streaming_logger()
    for chunk in ANSWER:
        logger.write("sess_abc123", chunk)  # line one
    logger.complete_session("sess_abc123")  # line two

    file = Path("logs/streaming/sess_abc123.log")
    print(f"{file}: {file.read_text(encoding='utf-8')}")
    whole = file.read_text(encoding="utf-8") == "".join(ANSWER)
    logger.close()
    return 0 if whole else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            code = main()
        finally:
            os.chdir("/")
    sys.exit(code)

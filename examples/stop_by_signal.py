"""A service that streams in its main thread and is stopped by SIGTERM: close() in the handler keeps every chunk."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from streaming_logger import Config, RadarConfig, StreamingLogger
except ImportError:  # a fresh clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from streaming_logger import Config, RadarConfig, StreamingLogger


def say(text: str) -> None:
    # Not print(): a handler may interrupt one that is at work, and two of them at once raise RuntimeError.
    os.write(1, f"{text}\n".encode())


def serve(directory: str) -> None:
    # A stream of one word for ever is what the radar warns of; here it is meant.
    config = Config(flush_interval_seconds=60, radar=RadarConfig(enabled=False))
    logger = StreamingLogger(config, directory=directory)
    sent = 0

    def stop(number: int, frame: object) -> None:
        logger.close()  # writes what is buffered, wherever the stream was interrupted
        say(str(sent))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # end as the sender of the signal expects

    signal.signal(signal.SIGTERM, stop)
    while True:
        logger.write("sess_abc123", "token ")
        sent += 1
        if sent == 100_000:
            say("streaming")


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, f"{place}/logs"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:  # noqa: S603 - this very file
            output: list[str] = []
            for line in service.stdout or ():
                if not output:
                    service.terminate()
                output.append(line)
        sent = int(output[1])
        written = (Path(place) / "logs/sess_abc123.log").read_text(encoding="utf-8").count("token ")
    # The chunk whose write() the signal interrupted may be there or not.
    print(f"ended by signal {-service.returncode}: {sent:,} chunks sent, {sent - min(sent, written)} lost")
    return 0 if written in (sent, sent + 1) and service.returncode == -signal.SIGTERM else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1])
    sys.exit(main())

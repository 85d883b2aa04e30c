"""One run of one candidate: `python child.py '["measure", "candidate", "directory", {arguments}]'`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

__all__ = ["main"]


def _many_descriptors() -> None:
    """As many as the system allows: candidates that keep 10,000 files open need them."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    measure, candidate, folder, arguments = json.loads(sys.argv[1])
    _many_descriptors()
    module, _, function = measure.partition(".")
    figures: dict[str, float] | str
    try:
        figures = getattr(importlib.import_module(module), function)(
            arguments.pop("peer", candidate), Path(folder), **arguments
        )
    except ImportError as error:
        figures = str(error)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

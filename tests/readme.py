"""The README's generated parts: `python tests/readme.py` writes them anew; a test holds them current."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from streaming_logger._config.schema import describe
from streaming_logger._events.model import Event, event_classes
from streaming_logger.cli._main import table
from streaming_logger.integrations._metrics import METRICS

README = Path(__file__).parents[1] / "README.md"


def settings_table() -> str:
    rows = [f"| `{key}` | {json.dumps(default)} | {meaning} |" for key, default, meaning in describe()]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def metrics_table() -> str:
    rows = []
    for metric in METRICS:
        label = "{reason}" if metric.reasons else ""
        rows.append(f"| `streaming_logger_{metric.name}{'_total' if metric.counter else ''}{label}` | {metric.doc} |")
    return "\n".join(["| metric | meaning |", "|---|---|", *rows])


def events_table() -> str:
    rows = []
    for event in event_classes():
        own = [field.name for field in dataclasses.fields(event) if field.name not in _IN_EACH_LINE]
        meaning = str(event.__doc__).partition("\n")[0].rstrip(".")
        rows.append(f"| {', '.join(event.names)} | {meaning} | {', '.join(own)} |")
    return "\n".join(["| event | when | fields |", "|---|---|---|", *rows])


_IN_EACH_LINE = {field.name for field in dataclasses.fields(Event)}
GENERATED = {"settings": settings_table, "cli": table, "metrics": metrics_table, "events": events_table}


def with_generated_parts(text: str) -> str:
    """The README with each part between `<!-- name:begin -->` and `<!-- name:end -->` written anew."""
    for name, make in GENERATED.items():
        pattern = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
        found = re.search(pattern, text, re.DOTALL)
        assert found, f"the README has no part {name}"
        text = text[: found.end(1)] + make() + "\n" + text[found.start(2) :]
    return text


if __name__ == "__main__":
    README.write_text(with_generated_parts(README.read_text()))

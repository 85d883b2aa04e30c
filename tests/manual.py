"""The manual's generated tables: `python tests/manual.py` writes them anew; a test holds them current.

Each kind of data has its place on one page, between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; the README has a
choice of settings.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from streaming_logger._base.outcomes import MEANINGS, Outcome, has_failed
from streaming_logger._config.schema import describe
from streaming_logger._events.event import Event
from streaming_logger._events.messages import MESSAGES
from streaming_logger._events.model import event_classes
from streaming_logger._view.sessions import STATES
from streaming_logger.cli._main import VERBS
from streaming_logger.integrations._metrics import METRICS

__all__ = ["GENERATED", "PAGES", "README", "ROOT", "pages", "table_of", "with_tables"]

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = ROOT / "src" / "streaming_logger" / "manual"
#: What varies in a line of the log.
_VARIES = re.compile(r"%[-+.\d]*[a-z]")
#: The fields of all events.
_IN_EACH_LINE = {field.name for field in dataclasses.fields(Event)}
#: The extras whose packages the tests of integrations and shapes run with.
_TESTED_EXTRAS = ("openai", "anthropic", "langchain", "litellm", "pydantic-ai", "sdks", "shapes", "claude-agent")

_MAIN_SETTINGS = (
    "directory",
    "file_retention_minutes",
    "failed_retention_minutes",
    "max_directory_mb",
    "crash_journal",
)

Row = tuple[str, ...]


def settings() -> list[Row]:
    return [(f"`{key}`", json.dumps(default), meaning) for key, default, meaning in describe()]


def main_settings() -> list[Row]:
    """Those that the README shows."""
    by_key = {row[0].strip("`"): row for row in settings()}
    return [by_key[key] for key in _MAIN_SETTINGS]


def metrics() -> list[Row]:
    return [
        (
            f"`streaming_logger_{metric.name}" + "_total" * metric.counter + "{reason}" * bool(metric.reasons) + "`",
            metric.doc,
        )
        for metric in METRICS
    ]


def events() -> list[Row]:
    rows = []
    for event in event_classes():
        own = [field.name for field in dataclasses.fields(event) if field.name not in _IN_EACH_LINE]
        names = ", ".join(f"`{name}`" for name in event.names)
        rows.append((names, str(event.__doc__).partition("\n")[0].rstrip("."), ", ".join(own)))
    return rows


def messages() -> list[Row]:
    rows = []
    for message in MESSAGES:
        lines = "<br>".join(f"`{_VARIES.sub('…', text)}`" for text in message.texts)
        page = f"[{message.page}]({message.page}.md)" if message.page else ""
        rows.append((lines, message.advice, page))
    return rows


def verbs() -> list[Row]:
    return [(f"`{verb.name}{' ' + verb.usage if verb.usage else ''}`", verb.help) for verb in VERBS]


def outcomes() -> list[Row]:
    by_caller = get_args(Outcome)
    return [
        (
            f"`{ending}`",
            meaning,
            "the caller, or `wrap`" if ending in by_caller else "the library",
            "yes" if has_failed(ending) else "no",
        )
        for ending, meaning in MEANINGS.items()
    ]


def states() -> list[Row]:
    rows = [(f"`{state}`", meaning) for state, meaning in STATES.items() if state not in MEANINGS]
    return [*rows, ("an outcome", "completed, with this outcome; deleted when it is due")]


def shapes() -> list[Row]:
    """The packages whose real objects the tests stream through `wrap`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: dict[str, str] = {}
    for extra in _TESTED_EXTRAS:
        for requirement in extras[extra]:
            name, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", requirement.partition(",<")[0]).groups()  # type: ignore[union-attr]
            if version.startswith(">=") and extra in ("shapes", "sdks", "claude-agent"):
                found[name] = version.removeprefix(">=")
    return [(f"`{name}`", found[name]) for name in sorted(found)]


#: For each kind of data: the heads of its table, and its rows.
GENERATED: dict[str, tuple[Row, Callable[[], list[Row]]]] = {
    "settings": (("setting", "default", "meaning"), settings),
    "main-settings": (("setting", "default", "meaning"), main_settings),
    "verbs": (("verb", "what it does"), verbs),
    "metrics": (("metric", "meaning"), metrics),
    "events": (("event", "when", "fields"), events),
    "messages": (("line", "what to do", "page"), messages),
    "outcomes": (("outcome", "meaning", "decided by", "failed"), outcomes),
    "states": (("state", "meaning"), states),
    "shapes": (("package", "tested from version"), shapes),
}


def table_of(name: str) -> str:
    """The table of one kind of data, in Markdown."""
    heads, rows = GENERATED[name]
    lines = [heads, ("---",) * len(heads), *rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def pages() -> dict[str, str]:
    """All pages of the manual, by topic."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))}


def with_tables(text: str, names: Iterable[str] = GENERATED) -> str:
    """A page with each of its generated tables written anew."""
    for name in names:
        pattern = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
        text = re.sub(
            pattern, lambda found, name=name: f"{found[1]}{table_of(name)}\n{found[2]}", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    for path in (README, *PAGES.glob("*.md")):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")

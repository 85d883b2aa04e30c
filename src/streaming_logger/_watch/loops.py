"""Finds runaway generations, from their text alone: a model that says the same over and over.

Four kinds. `periodic`: the text repeats exactly. `counting`: it repeats but for numbers that count, or a numbered
list repeats its items. `varying`: it repeats but for numbers, times and ids. `near`: the same words over and over,
in varying order or with small changes.

A stream is examined in blocks of some 256 characters, whatever the pieces are in which it comes. Each block goes
through three stages, so that ordinary text costs little:

1. `History` takes numbers and ids out of it. What counts or varies becomes a plain repetition.
2. Two gates: does the end of the text occur earlier in the last 5,000 characters? Do pieces of it recur? Most prose
   ends here.
3. Judgement: is the repetition long enough for what it repeats? Language needs less than rows of data, and those
   need less than padding (`exact.py`); does a text of recurring pieces say anything new (`near.py`)?
"""

from __future__ import annotations

from streaming_logger._watch.exact import ExactRepetition
from streaming_logger._watch.findings import Finding, Loop, LoopSettings, Severity
from streaming_logger._watch.history import History
from streaming_logger._watch.near import find_flood, find_near_loop, goes_on, may_be_near_loop

__all__ = ["Finding", "LoopDetector", "LoopSettings", "find_loops"]

_BLOCK = 256
#: A block ends after a blank, if one is among its last characters: so no number or id is cut in two.
_LONGEST_WORD = 40
_SAMPLE = 80
#: A loop that was found is looked at in every fourth block.
_LOOK = 4
#: Near loops are looked for in every second block, and not in the block after one that had none.
_PAUSE = 1
#: Rows with numbers often look like loops, which takes long to refute.
_PAUSE_FOR_DATA = 3
#: Minimum length of the rest that is examined at a stream's end.
_MIN_REST = 16


class LoopDetector:
    """Finds loops in one stream, fed piece by piece. Takes at most 8 kB.

    >>> detector = LoopDetector()
    >>> for _ in range(20):
    ...     for finding in detector.feed("The cat sat on the mat. "):
    ...         print(finding.kind, finding.offset, finding.period, repr(finding.sample))
    periodic 0 24 'the mat. The cat sat on '
    """

    __slots__ = (
        "_block",
        "_blocks",
        "_ended",
        "_exact",
        "_history",
        "_last",
        "_loop",
        "_pause",
        "_pending",
        "_position",
        "_settings",
    )

    def __init__(self, settings: LoopSettings | None = None) -> None:
        self._settings = settings or LoopSettings()
        self._history = History()
        self._exact = ExactRepetition(self._settings)
        self._pending = ""
        self._position = 0
        self._blocks = 0
        self._block = _BLOCK
        self._pause = 0
        self._loop: Finding | None = None
        self._ended: list[Finding] = []
        self._last = 0
        """Where the loop was seen last."""

    @property
    def position(self) -> int:
        """How many characters were fed."""
        return self._position + len(self._pending)

    @property
    def loop(self) -> Finding | None:
        """The loop that the stream is in, with its length so far."""
        loop = self._loop
        return loop and loop._replace(repeated=self._last - loop.offset)

    def take_ended(self) -> list[Finding]:
        """The loops that have ended since the last call, with their whole length."""
        ended, self._ended = self._ended, []
        return ended

    def feed(self, text: str) -> list[Finding]:
        """Takes the next piece of the stream. Returns the loops found in it, each once: mostly none."""
        text = self._pending + text
        start, size = 0, len(text)
        found: list[Finding] = []
        while size - start >= self._block:
            limit = start + self._block
            stop = text.rfind(" ", limit - _LONGEST_WORD, limit) + 1 or limit
            if finding := self._examine(text[start:stop]):
                found.append(finding)
            start = stop
        self._pending = text[start:] if start else text
        return found

    def end(self) -> list[Finding]:
        """The stream has ended: examines what is left of it. A loop that it is in has ended, too."""
        rest, self._pending = self._pending, ""
        finding = None
        if self._loop is not None and rest:
            self._position += len(rest)
            self._look(rest)
        elif len(rest) >= _MIN_REST:
            finding = self._examine(rest)
        self._close()
        return [finding] if finding else []

    def _examine(self, block: str) -> Finding | None:
        self._position += len(block)
        self._blocks += 1
        if self._loop is not None:
            if self._blocks % _LOOK == 0:
                self._look(block)
            return None
        self._history.add(block)
        loop = self._exact.judge(self._history) or self._judged_near(block)
        self._block = _BLOCK // 2 if self._exact.is_open else _BLOCK
        if loop is None:
            return None
        offset = max(0, self._position - loop.length)
        sample = block[-min(loop.period or _SAMPLE, _SAMPLE) :]
        severity: Severity = "low" if loop.is_weak else "high"
        self._loop = Finding(loop.kind, offset, self._position - offset, loop.period, sample, severity)
        self._last = self._position
        return self._loop

    def _judged_near(self, block: str) -> Loop | None:
        history = self._history
        if self._blocks % _LOOK == 0 and (loop := find_flood(history, block)):
            return loop
        if self._pause:
            self._pause -= 1
            return None
        if self._exact.is_followed or self._blocks % 2 or not may_be_near_loop(history.text, history.new):
            return None
        self._pause = _PAUSE if history.lacks_fields(_BLOCK) else _PAUSE_FOR_DATA
        return find_near_loop(history, self._settings)

    def _look(self, block: str) -> None:
        """Whether the loop goes on."""
        self._history.add(block)
        if goes_on(self._history):
            self._last = self._position
        elif self._position - self._last >= self._settings.quiet:
            self._close()

    def _close(self) -> None:
        if self.loop is not None:
            self._ended.append(self.loop)
        self._loop = None
        self._exact = ExactRepetition(self._settings)


def find_loops(text: str, settings: LoopSettings | None = None) -> list[Finding]:
    """All loops of a text, as a `LoopDetector` finds them, however it is fed.

    >>> [finding.kind for finding in find_loops("".join(f"Step {n}: try it again. " for n in range(1, 60)))]
    ['counting']
    """
    detector = LoopDetector(settings)
    return detector.feed(text) + detector.end()

"""Runs candidates side by side: in each round every one once, each in a fresh interpreter, in turning order.

The machine is never quiet for long, so no figure stands alone: what counts is the ratio
of two candidates within one round, and the median of that over the rounds. Folders with
files are made before anything is deleted: ext4 creates slowly after a mass unlink.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from files import make_files

__all__ = ["Results", "Rounds"]

_CHILD = Path(__file__).with_name("child.py")


@dataclass
class Results:
    """Figures of some candidates, round by round: candidate -> name of figure -> values."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Candidates that are not installed, and what was printed."""

    def median(self, candidate: str, figure: str) -> float:
        return median(self.values[candidate][figure])

    def ratio(self, candidate: str, other: str, figure: str) -> float:
        """The median over the rounds of candidate / other."""
        pairs = zip(self.values[candidate][figure], self.values[other][figure], strict=True)
        return median(a / b for a, b in pairs)


class Rounds:
    """Runs measures, `count` rounds each, in folders under `directory` (None: the system's for temporary files)."""

    def __init__(self, count: int, directory: Path | None) -> None:
        self.count = count
        self.directory = directory

    def run(
        self,
        measure: str,
        candidates: Mapping[str, Mapping[str, object]],
        *,
        files: int = 0,
        age: float = 0.0,
        shared: bool = False,
    ) -> Results:
        """The figures of a measure for candidates with their arguments. Raises where one fails.

        Each run has a folder of its own with so many files, `shared` makes it the same for all.
        """
        results = Results()
        order = list(candidates)
        folders = [self._folder(files, age) for _ in range(1 if shared else self.count * len(order) if files else 0)]
        left = list(folders)
        try:
            for number in range(self.count):
                turn = number % len(order)
                for candidate in order[turn:] + order[:turn]:
                    if candidate in results.missing:
                        continue
                    if not shared and not files:
                        folders.append(self._folder(0, 0))
                        left.append(folders[-1])
                    folder = left[0] if shared else left.pop()
                    figures = _child(measure, candidate, folder, candidates[candidate])
                    if isinstance(figures, str):
                        results.missing[candidate] = figures
                        continue
                    for name, value in figures.items():
                        results.values.setdefault(candidate, {}).setdefault(name, []).append(value)
                print(f"\r{measure}: round {number + 1} of {self.count} ", end="", file=sys.stderr, flush=True)
        finally:
            for folder in folders:
                shutil.rmtree(folder)
        print(file=sys.stderr)
        return results

    def _folder(self, files: int, age: float) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self.directory, prefix="bench-"))
        if files:
            make_files(folder, files, age)
        return folder


def _child(measure: str, candidate: str, folder: Path, arguments: Mapping[str, object]) -> dict[str, float] | str:
    """The figures of one run in an interpreter of its own; or why the candidate cannot run."""
    order = json.dumps([measure, candidate, str(folder), arguments])
    done = subprocess.run([sys.executable, str(_CHILD), order], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{measure} of {candidate} {arguments} failed:\n{done.stderr}")
    figures: dict[str, float] | str = json.loads(done.stdout)
    return figures

"""Watches the text of streams: finds generations that run away in a loop. Never touches session files.

`loops` is the detector; `counters` and `repetition` are its two halves. May import: nothing of this library.
"""

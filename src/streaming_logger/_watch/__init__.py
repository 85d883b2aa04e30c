"""What watches the streams while they run: text that loops, streams that stall.

Looks at text and times, never touches a session's file. `loops` is the detector, `counters` and
`repetition` are its halves; `radar` runs it. May import: `_base`, `_config`, `_events`.
"""

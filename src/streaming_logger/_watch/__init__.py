"""What watches the streams while they run: text that loops, streams that stall.

Looks at text and times, never touches a session's file. `loops` is the detector: `history` is what it keeps of a
stream, `fields` takes numbers and ids out, `exact` and `near` judge, `units` tells language from data, `findings` has
its settings and results. `radar` runs it. May import: `_base`, `_config`, `_events`.
"""

"""What watches the streams while they run: text that loops, streams that stall.

Looks at text and times, never touches a session's file. May import: `_base`, `_config`, `_events`.
"""

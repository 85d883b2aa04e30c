"""Unwritten text: a session's buffer, and the table of all sessions with its bound on memory.

May import: `_base`, `_disk` (file names).
"""

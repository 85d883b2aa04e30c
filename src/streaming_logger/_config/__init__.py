"""The settings: one frozen, validated value, and the file from which it is reloaded while the logger runs.

May import: `_base`, `_disk` (a copy of the settings lies in the log directory), `_events`.
"""

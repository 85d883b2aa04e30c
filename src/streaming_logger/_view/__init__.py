"""The directory as data: which one is meant, its sessions, their states, turns and text, and tables of them.

Whoever shows sessions reads them here: each verb of the command, and a page. Nothing in here prints, parses arguments
or changes a file. May import: `_base`, `_disk`, `_events`, `_config`, `_wal`, `_sweep`, `_watch`.
"""

"""The operator's command, `streaming-logger`. It reads the directory and never imports a running logger.

May import: `_base`, `_disk`, `_events`, `_config`, `_wal`, `_sweep`, `_watch`, `_archive`, `_view`.
"""

"""The archive: completed session files in object storage, and how they are found there again, on all hosts.

An uploader works beside the worker, on threads of its own; flusher and sweeper do not know it. May import: `_base`,
`_disk`, `_events`, `_config`, `_sweep`.
"""

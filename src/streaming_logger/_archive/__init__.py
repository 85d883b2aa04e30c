"""Archives completed session files in object storage, and finds them there again, on all hosts.

An uploader works beside the worker, on a thread of its own; flusher and sweeper do not know it. May import: `_base`,
`_disk`, `_events`, `_config`, `_sweep`, `_context`.
"""

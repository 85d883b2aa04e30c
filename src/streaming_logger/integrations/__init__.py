"""Adapters to third-party libraries, one small file each; each imports its library itself.

May import: the public names of `streaming_logger`, `_stream_log`, by which `wrap` logs too, with
`_text`, and `_events`, for what happens to sessions. The core imports none of them.
"""

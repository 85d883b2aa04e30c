"""Adapters to third-party libraries, one small file each; each imports its library itself.

May import: the public names of `streaming_logger`, and `_stream_log`, by which `wrap` logs too, with
`_text`. The core imports none of them.
"""

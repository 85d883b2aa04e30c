"""Adapters to other people's libraries, one small file each; each imports its library itself.

May import: the public names of `streaming_logger`, and `_text`. The core imports none of them.
"""

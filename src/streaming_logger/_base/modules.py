"""Modules that the application may have imported: looked at, never imported."""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["loaded"]


def loaded(name: str) -> ModuleType | None:
    """The module, if it was imported; None also while another thread is in the middle of that.

    `sys.modules` has a module from the first line of its code on, without most of its names.

    >>> loaded("sys") is sys, loaded("nowhere")
    (True, None)
    """
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module

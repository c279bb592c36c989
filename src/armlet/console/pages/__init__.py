"""The console's pages, one module each, with `PAGE`."""

from __future__ import annotations

import importlib
import pkgutil

from armlet.console.page import Page


def found() -> list[Page]:
    """All pages, in their order. Loads the console's library."""
    modules = [
        importlib.import_module(f"{__name__}.{part.name}")
        for part in pkgutil.iter_modules(__path__)
    ]
    pages: list[Page] = [module.PAGE for module in modules if hasattr(module, "PAGE")]
    return sorted(pages, key=lambda page: (page.order, page.code))

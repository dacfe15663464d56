"""Puts together what brings inputs here and opens them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from generation_worker.config import ConfigurationError, Settings
from generation_worker.events import Events
from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.connector import Connector
from generation_worker.fetch.fetcher import WebFetcher
from generation_worker.images.tools import ImageTools

MIB = 1024 * 1024


def build_images(settings: Settings) -> ImageTools:
    return ImageTools(
        settings.image_children,
        max_pixels=settings.image_max_pixels,
        memory=settings.image_memory_mb * MIB,
        seconds=settings.image_timeout,
    )


def build_fetcher(settings: Settings, events: Events) -> WebFetcher:
    """Gets inputs by URL. Raises ConfigurationError if the directory for them is named and cannot be used."""
    return WebFetcher(
        Connector(allow_private=settings.fetch_allow_private),
        timeout=settings.fetch_timeout,
        most_bytes=settings.fetch_max_mb * MIB,
        cache=_input_cache(settings, events) if settings.fetch_cache_mb else None,
    )


def _input_cache(settings: Settings, events: Events) -> DiskCache | None:
    """In a directory of this user's own. Without one that can be used, each job fetches for itself."""
    try:
        parent = settings.fetch_cache_dir or Path(tempfile.gettempdir())
        cache = DiskCache(parent / f"generation-worker-inputs-{os.getuid()}", most_bytes=settings.fetch_cache_mb * MIB)
        cache.prepare()
    except OSError as error:
        problem = f"FETCH_CACHE_DIR: inputs cannot be kept there ({error.strerror}); name another directory"
        if settings.fetch_cache_dir is not None:
            raise ConfigurationError([f"{problem}, or set FETCH_CACHE_MB=0"]) from None
        events.emit("settings.notice", notice=f"{problem}. Until then each job fetches its own")
        return None
    return cache

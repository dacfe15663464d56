"""The settings of the fetcher."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from generation_worker.config import ConfigurationError, load_settings
from generation_worker.domain.errors import InputRejected, InputUnavailable
from generation_worker.events import Events
from generation_worker.fetch.fetcher import WebFetcher
from generation_worker.images.processes import DEFAULTS
from generation_worker.storage.disk import MOST_BYTES
from generation_worker.wiring import MIB, build_fetcher
from tests.fetch.pages import CAT, begun, image
from tests.fetch.world import Attempt, Site
from tests.simulators.replies import hang
from tests.simulators.server import SimulatorServer


def build(told: list[str] | None = None, **settings: str) -> WebFetcher:
    events = Events()

    def listen(name: str, fields: dict[str, Any]) -> None:
        if told is not None:
            told.append(f"{name}: {fields['notice']}")

    events.subscribe(listen)
    return build_fetcher(load_settings(settings), events)


def test_private_hosts_are_for_development(site: Site, tmp_path: Path) -> None:
    with SimulatorServer([site]) as server:
        url = f"{server.url}/cat.png"
        with pytest.raises(InputRejected, match="An input's url must begin with https://"):
            build(FETCH_CACHE_DIR=str(tmp_path)).fetch(url, Attempt())
        assert build(FETCH_CACHE_DIR=str(tmp_path), FETCH_ALLOW_PRIVATE="true").fetch(url, Attempt()) == CAT


def test_time_and_size_are_those_of_the_settings(site: Site) -> None:
    fetcher = build(FETCH_CACHE_MB="0", FETCH_ALLOW_PRIVATE="true", FETCH_TIMEOUT="1s", FETCH_MAX_MB="2")
    with SimulatorServer([site]) as server:
        site.pages["/cat.png"] = begun(hang)
        with pytest.raises(InputUnavailable, match="within 1 s"):
            fetcher.fetch(f"{server.url}/cat.png", Attempt())
        site.pages["/cat.png"] = image(bytes(2 * MIB + 1))
        with pytest.raises(InputRejected, match="larger than the 2 MiB"):
            fetcher.fetch(f"{server.url}/cat.png", Attempt())


def test_no_larger_input_is_fetched_than_can_be_opened() -> None:
    with pytest.raises(ConfigurationError, match="FETCH_MAX_MB must be a whole number, from 1 to 50"):
        load_settings({"FETCH_MAX_MB": "51"})
    assert DEFAULTS.max_bytes == MOST_BYTES == 50 * MIB


@pytest.mark.parametrize("size", ["256", "0"])
def test_inputs_are_kept_if_there_is_room_for_them(site: Site, tmp_path: Path, size: str) -> None:
    settings = {"FETCH_CACHE_DIR": str(tmp_path), "FETCH_CACHE_MB": size, "FETCH_ALLOW_PRIVATE": "true"}
    with SimulatorServer([site]) as server:
        for _ in range(2):
            assert build(None, **settings).fetch(f"{server.url}/cat.png", Attempt()) == CAT
    assert len(site.asked) == (2 if size == "0" else 1)
    assert [file.name for file in tmp_path.iterdir()] == (
        [] if size == "0" else [f"generation-worker-inputs-{os.getuid()}"]
    )


def test_a_directory_that_is_named_and_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigurationError) as refused:
        build(FETCH_CACHE_DIR=str(file))
    assert refused.value.problems == [
        "FETCH_CACHE_DIR: inputs cannot be kept there (Not a directory); name another directory, "
        "or set FETCH_CACHE_MB=0"
    ]


def test_without_one_that_can_be_used_a_worker_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(file))
    told: list[str] = []
    build(told)
    assert told == [
        "settings.notice: FETCH_CACHE_DIR: inputs cannot be kept there (Not a directory); name another directory. "
        "Until then each job fetches its own"
    ]

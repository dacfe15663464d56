"""The demo as a person runs it: it shows what it promises, and a second one begins where the first has left off."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from generation_worker.demo import MARKER
from tests.support.processes import clean_environment
from tests.support.waiting import wait_until

TROUBLES = {
    "a provider that is down twice": ("completed", None),
    "a rate limit": ("completed", None),
    "a picture the provider blocks": ("failed", "content_blocked"),
    "paid calls without an answer": ("failed", "paid_calls_exhausted"),
    "cancelled while it runs": ("cancelled", None),
    "an input that is no image": ("failed", "input_rejected"),
    "a PNG of 900 megapixels": ("failed", "input_rejected"),
    "credits gone before the start": ("failed", "insufficient_credits"),
    "requested twice with one key": ("completed", None),
}
"""Act → status and error code of its one job."""


@dataclass
class Demo:
    """A demo that has told its report and goes on."""

    process: subprocess.Popen[str]
    report: dict[str, Any]

    def psql(self, query: str) -> str:
        """Ask as the report says that one can."""
        command = [*shlex.split(self.report["look"]["psql"]), "--no-psqlrc", "-qAtc", query]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    def jobs(self, act: str) -> list[dict[str, Any]]:
        return [job for job in self.report["jobs"] if job["act"] == act]


def test_a_run_from_its_beginning_to_ctrl_c_and_a_second_one(tmp_path: Path, subtests: pytest.Subtests):
    directory = tmp_path / "demo"
    with start(directory, "--keep", "--json") as process:
        try:
            demo = Demo(process, read_report(process))
            for promise in PROMISES:
                with subtests.test(promise.__name__):
                    promise(demo)
        finally:
            process.kill()
    begins_anew_in_the_same_place(directory)


def everything_is_as_expected(demo: Demo) -> None:
    assert demo.report["problems"] == []
    assert demo.report["audit"] == []
    assert demo.report["as_expected"] is True
    kinds = {job["kind"] for job in demo.report["jobs"]}
    assert kinds == {"text_to_image", "image_conversion", "image_processing"}
    statuses = Counter(job["status"] for job in demo.report["jobs"])
    assert statuses == {"completed": 240, "failed": 5, "cancelled": 1}


def each_trouble_ends_as_it_should(demo: Demo) -> None:
    for act, ending in TROUBLES.items():
        assert [(job["status"], job["error_code"]) for job in demo.jobs(act)] == [ending], act


def users_with_one_job_start_before_the_crowd_that_came_first(demo: Demo) -> None:
    singles = demo.jobs("users with one job each")
    assert len(singles) == 12
    for job in singles:
        assert job["passed"] < job["behind"] / 2


def jobs_of_the_killed_worker_are_done_and_charged_once(demo: Demo) -> None:
    lost = [job for job in demo.report["jobs"] if job["lost_by_a_worker"]]
    assert len(lost) > 0
    for job in lost:
        assert job["status"] == "completed"
        assert job["attempt"] > 1
        assert (job["debited"], job["refunded"]) == (job["cost"], 0)


def refused_requests_say_why(demo: Demo) -> None:
    [poor, unnamed] = demo.report["refused"]
    assert "xena has 1" in poor["message"]
    assert "{{name}}" in unnamed["message"]


def every_balance_adds_up(demo: Demo) -> None:
    for account in demo.report["accounts"]:
        moved = account["adjusted"] - account["debited"] + account["refunded"]
        assert account["granted"] + moved == account["after"]


def the_contact_sheet_shows_every_image(demo: Demo) -> None:
    with Image.open(demo.report["places"]["contact_sheet"]) as sheet:
        assert sheet.format == "WEBP"
        assert min(sheet.size) > 1_000


def kept_running_it_shows_its_pages_and_works_on(demo: Demo) -> None:
    assert httpx.get(demo.report["look"]["health"]).json()["status"] == "healthy"
    assert "The fleet is running" in httpx.get(demo.report["look"]["dashboard"]).text
    demo.psql(demo.report["look"]["enqueue"])
    wait_until(lambda: demo.psql("SELECT count(*) FROM generation_job WHERE status = 'completed'") == "241", "the job")


def ctrl_c_ends_it(demo: Demo) -> None:
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0


PROMISES = (
    everything_is_as_expected,
    each_trouble_ends_as_it_should,
    users_with_one_job_start_before_the_crowd_that_came_first,
    jobs_of_the_killed_worker_are_done_and_charged_once,
    refused_requests_say_why,
    every_balance_adds_up,
    the_contact_sheet_shows_every_image,
    kept_running_it_shows_its_pages_and_works_on,
    ctrl_c_ends_it,
)
"""Of one and the same run, which takes a while, in their order."""


def begins_anew_in_the_same_place(directory: Path) -> None:
    with start(directory) as second:
        try:
            assert second.stdout is not None
            told = iter(second.stdout)
            assert "0 of 246 done" in next(told), "it begins with jobs of the run before"
            assert any("ada comes with one job" in line for line in told)
            second.send_signal(signal.SIGINT)
            assert "The worker ended (stopped)" in second.communicate(timeout=30)[0]
            assert second.returncode == 1
        finally:
            second.kill()


def test_a_photo_that_is_none_is_refused_by_name(tmp_path: Path):
    photo = tmp_path / "notes.txt"
    photo.write_text("milk, bread")
    with start(tmp_path / "demo", "--photo", str(photo)) as process:
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert f"--photo: {photo}" in said
    assert "PNG, JPEG or WEBP" in said
    assert "Traceback" not in said
    assert not (tmp_path / "demo").exists()


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "storage").mkdir()
    with start(tmp_path) as process:
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert f"--directory: {tmp_path}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["storage"]
    assert MARKER not in said


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "generation_worker", "demo", "--directory", str(directory), *arguments],
        env=clean_environment(PYTHONUNBUFFERED="1"),
        cwd=directory.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if "--json" not in arguments else None,
        text=True,
    )


def read_report(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The document, which the demo prints while it goes on."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            report = json.loads("".join(lines))
            assert "error" not in report, report
            return report
    raise AssertionError(f"it ended with {process.wait()} without a report")

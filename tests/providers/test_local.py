"""The local provider: what it draws, its delays, and the faults it injects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from generation_worker.domain.errors import (
    CancelRequested,
    ContentBlocked,
    JobError,
    NoImage,
    ProviderLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.ports import Checkable, GenerationRequest, Picture, Provider
from generation_worker.providers.local import InjectedFault, LocalProvider


@dataclass
class Control:
    """Counts what it is asked and never really waits; ``stop_at`` is the question that it answers with a cancel."""

    stop_at: int | None = None
    asked: int = 0
    paused: list[float] = field(default_factory=list[float])

    def check(self) -> None:
        self.asked += 1
        if self.asked == self.stop_at:
            raise CancelRequested

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        self.paused.append(seconds)
        self.check()

    def seconds_left(self) -> float:
        return 60.0

    def admit(self) -> None: ...

    def remember(self, provider_ref: str) -> None:
        raise AssertionError("what is drawn here is nowhere else")


def request(prompt: str = "a fox", *, attempt: int = 1, job_id: str = "1", **more: Any) -> GenerationRequest:
    return GenerationRequest(job_id, attempt, prompt, **more)


def make(prompt: str = "a fox", faults: str = "", **more: Any) -> bytes:
    return LocalProvider(faults=InjectedFault.parse_all(faults)).generate(request(prompt, **more), Control()).data


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.fixture(scope="module")
def pictures() -> Sequence[Picture]:
    files: list[Picture] = []
    for mode, kind in (("RGB", "JPEG"), ("RGBA", "PNG"), ("L", "PNG")):
        file = BytesIO()
        Image.new(mode, (300, 200), "red" if mode != "L" else 80).save(file, kind)
        files.append(Picture(file.getvalue(), f"image/{kind.lower()}", 300, 200))
    return files


def test_it_is_a_provider() -> None:
    provider: Provider = LocalProvider()
    provider.warm_up()
    assert (provider.name, provider.key_label) == ("local", "local")


def test_the_answer_says_what_it_is() -> None:
    generated = LocalProvider().generate(request(aspect_ratio="16:9"), Control())
    assert (generated.model, generated.usage) == ("local-preview", {"pixels": 512 * 288})
    assert opened(generated.data).format == "JPEG"


@pytest.mark.parametrize(
    ("aspect_ratio", "image_size", "expected"),
    [
        (None, None, (512, 512)),
        ("16:9", "1K", (1024, 576)),
        ("9:16", None, (288, 512)),
        ("21:9", "2K", (2048, 878)),
        ("3:4", "4K", (3072, 4096)),
        ("99:1", "512", (512, 16)),
        ("1:99", "512", (16, 512)),
    ],
)
def test_the_size_is_honoured(aspect_ratio: str, image_size: str, expected: tuple[int, int]) -> None:
    assert opened(make(aspect_ratio=aspect_ratio, image_size=image_size)).size == expected


@pytest.mark.parametrize("bad", [{"image_size": "8K"}, {"aspect_ratio": "square"}, {"aspect_ratio": "0:1"}])
def test_a_size_that_does_not_exist_is_rejected(bad: dict[str, str]) -> None:
    with pytest.raises(ProviderRejected, match="no such size or aspect ratio"):
        make(**bad)


def test_the_same_request_gives_the_same_bytes_in_any_process(pictures: Sequence[Picture]) -> None:
    code = "import sys; from generation_worker.providers import local_drawing as d; "
    code += "sys.stdout.buffer.write(d.draw('a fox', (), (512, 512)))"
    assert subprocess.check_output([sys.executable, "-c", code]) == make()
    assert make() == make(attempt=2, job_id="2")
    assert make(images=tuple(pictures)) == make(images=tuple(pictures))


def test_prompt_images_and_size_make_a_difference(pictures: Sequence[Picture]) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"prompt": "an ox"},
        {"images": tuple(pictures[:1])},
        {"images": tuple(pictures[1:2])},
        {"image_size": "1K"},
        {"aspect_ratio": "4:5"},
    ]
    assert len({make(**variant) for variant in variants}) == len(variants)


def test_the_images_are_in_the_picture() -> None:
    file = BytesIO()
    Image.new("RGB", (300, 300), (0, 255, 0)).save(file, "PNG")
    image = opened(make(images=(Picture(file.getvalue(), "image/png", 300, 300),)))
    assert _near(image.getpixel((256, 215)), (0, 255, 0))


def _near(pixel: Any, color: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(pixel, color, strict=True))


@pytest.mark.parametrize(
    "prompt", ["", " ", "x" * 10_000, "word " * 2000, "夜の街", "Größe – ñ", "a\nb\tc\0", "\ud800", "fox 🦊"]
)
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert opened(make(prompt)).size == (512, 512)


def test_any_number_of_images_can_be_drawn(pictures: Sequence[Picture]) -> None:
    for count in range(1, 15):
        images = tuple(pictures[n % 3] for n in range(count))
        assert opened(make(images=images, aspect_ratio="99:1" if count % 2 else "1:99")).width in (512, 16)


def test_the_drawing_library_loads_when_it_is_used() -> None:
    code = "import sys, generation_worker.providers.local; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_delay_is_waited_for_where_a_cancel_is_heard() -> None:
    control = Control(stop_at=2)
    with pytest.raises(CancelRequested):
        LocalProvider(delay=3.0).generate(request(), control)
    assert control.paused == [3.0]


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_cancel_is_heard_before_and_after(stop_at: int) -> None:
    with pytest.raises(CancelRequested):
        LocalProvider().generate(request(), Control(stop_at))


def test_jitter_spreads_the_delay_and_each_attempt_keeps_its_own() -> None:
    provider = LocalProvider(delay=10.0, jitter=0.2)

    def delays() -> list[float]:
        control = Control()
        for number in range(20):
            provider.generate(request(job_id=str(number), image_size="512", aspect_ratio="99:1"), control)
        return control.paused

    assert delays() == delays()
    assert 8.0 <= min(delays()) < 9.0
    assert 11.0 < max(delays()) <= 12.0


@pytest.mark.parametrize("bad", [{"delay": -1.0}, {"jitter": 1.1}, {"jitter": -0.1}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="delay must not be negative"):
        LocalProvider(**bad)


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("unavailable", ProviderUnavailable),
        ("rejected", ProviderRejected),
        ("blocked", ContentBlocked),
        ("limited", ProviderLimited),
        ("timeout", ProviderTimedOut),
        ("no_image", NoImage),
    ],
)
def test_faults_that_raise(way: str, error: type[JobError]) -> None:
    with pytest.raises(error, match="the prompt contains 'storm'"):
        make("a Storm, at sea", f"storm={way}")


@pytest.mark.parametrize(("text", "wait"), [("limited", None), ("limited:2s", 2.0), ("limited:500ms*2", 0.5)])
def test_a_rate_limit_names_its_wait(text: str, wait: float | None) -> None:
    with pytest.raises(ProviderLimited) as limited:
        make("storm", f"storm={text}")
    assert limited.value.wait == wait


def test_faults_that_answer_with_something_else() -> None:
    assert make("storm", "storm=not_an_image").startswith(b"<!doctype html>")
    with pytest.raises(Image.DecompressionBombError, match="900000000 pixels"):
        Image.open(BytesIO(make("storm", "storm=bomb")))


def test_a_slow_answer_comes_after_a_pause() -> None:
    control = Control()
    provider = LocalProvider(faults=InjectedFault.parse_all("storm=slow:1.5m"))
    assert opened(provider.generate(request("storm"), control).data).size == (512, 512)
    assert control.paused == [90.0]


def test_a_hang_listens_to_nobody() -> None:
    control = Control(stop_at=2)
    provider = LocalProvider(faults=InjectedFault.parse_all("storm=hang"))
    stuck = Thread(target=provider.generate, args=(request("storm"), control), daemon=True)
    stuck.start()
    stuck.join(0.05)
    assert stuck.is_alive()
    assert control.asked == 1


def test_a_crash_takes_the_process_with_it() -> None:
    code = """if True:
        from generation_worker.providers.local import InjectedFault
        try:
            InjectedFault.parse("storm=exit").inject(None)
        finally:
            print("cleaned up")
    """
    crashed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (crashed.returncode, crashed.stdout) == (137, b"")


def test_a_fault_ends_after_its_attempts() -> None:
    for attempt in (1, 2):
        with pytest.raises(ProviderUnavailable):
            make("storm", "storm=unavailable*2", attempt=attempt)
    assert make("storm", "storm=unavailable*2", attempt=3) == make("storm")


@pytest.mark.parametrize("prompt", ["stormy weather", "brainstorm", "calm", "ice-storm", "storm_1"])
def test_only_the_whole_word_counts(prompt: str) -> None:
    assert make(prompt, "storm=blocked") == make(prompt)


def test_the_first_fault_that_applies_decides() -> None:
    faults = "storm=unavailable*1, hail=blocked,, storm=no_image"
    with pytest.raises(ProviderUnavailable):
        make("hail and storm", faults)
    with pytest.raises(ContentBlocked):
        make("hail and storm", faults, attempt=2)
    with pytest.raises(NoImage):
        make("storm", faults, attempt=2)


def test_a_setting_is_read() -> None:
    assert InjectedFault.parse_all("") == ()
    assert InjectedFault.parse_all("stormy=unavailable*2, throttled=limited:2s*3,lazy=slow:1h") == (
        InjectedFault("stormy", "unavailable", None, 2),
        InjectedFault("throttled", "limited", 2.0, 3),
        InjectedFault("lazy", "slow", 3600.0, None),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stormy", "'stormy' is not of the form word=way"),
        ("a b=blocked", "'a b=blocked' is not of the form"),
        ("stormy=blocked*0", "'stormy=blocked.0' is not of the form"),
        ("stormy=explode", "stormy: 'explode' is not one of unavailable, rejected, blocked, limited"),
        ("stormy=slow", "stormy: slow needs a duration"),
        ("stormy=slow:soon", "stormy: 'soon' is not a duration such as 500ms"),
        ("stormy=blocked:2s", "stormy: only slow and limited take a duration, not blocked"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        InjectedFault.parse_all(f"fine=blocked,{text}")


def test_doctor_sees_it_draw() -> None:
    provider = LocalProvider()
    assert isinstance(provider, Checkable)
    found = provider.check(seconds=1)
    assert (found.status, found.remedy) == ("ok", None)
    assert "no key" in found.detail


def test_doctor_warns_of_injected_faults() -> None:
    found = LocalProvider(faults=InjectedFault.parse_all("fox=hang")).check(seconds=1)
    assert (found.status, found.remedy) == ("warning", "Remove LOCAL_FAULTS")

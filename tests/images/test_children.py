"""What a hostile image can do to its child process, and that the worker survives it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
from PIL import Image

from generation_worker.domain.errors import InputRejected, InternalError
from generation_worker.domain.payload import Output, Resize
from generation_worker.images.processes import MB, ImageLimits, receive, send
from generation_worker.images.tools import ImageTools

Save = Callable[..., bytes]
Make = Callable[..., ImageTools]

MODULE = "generation_worker.images.child"
LARGE = Resize(type="resize", width=5000, height=5000, fit="fill")
"""Takes a second, and more memory than a small limit allows."""
SMALLER = Resize(type="resize", width=2000, height=2000, fit="fill")


@pytest.fixture
def make() -> Iterator[Make]:
    """``make(children, …)`` are tools that end with the test."""
    made: list[ImageTools] = []

    def make(children: int = 1, **limits: Any) -> ImageTools:
        made.append(ImageTools(children, **limits))
        return made[-1]

    yield make
    for tools in made:
        tools.close()


@pytest.fixture(scope="module")
def png(save: Save, photo: Image.Image) -> bytes:
    return save(photo, "PNG")


def children(parent: int | None = None) -> list[psutil.Process]:
    """The image processes of ``parent``, which is us if not said."""
    return [child for child in psutil.Process(parent).children() if alive(child)]


def used(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def alive(process: psutil.Process) -> bool:
    """Whether it is an image process that runs; a dead one stays in the table until its exit code is asked for."""
    try:
        return MODULE in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def new_children(make: Make) -> Callable[[], list[psutil.Process]]:
    """The image processes that this test has started."""
    before = {child.pid for child in children()}
    return lambda: [child for child in children() if child.pid not in before]


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = monotonic() + seconds
    while not true():
        assert monotonic() < end, "it did not happen"
        sleep(0.005)


def test_a_child_that_hangs_is_killed_and_replaced(make: Make, png: bytes, new_children: Any) -> None:
    tools = make(seconds=1)
    tools.warm_up()
    [hanging] = new_children()
    hanging.suspend()
    with pytest.raises(InputRejected, match=r"takes longer than the 1 s allowed"):
        tools.open(png)
    assert not hanging.is_running()
    assert tools.open(png).width == 200


def test_a_child_that_hangs_with_the_pipe_full_is_killed_as_well(make: Make, new_children: Any) -> None:
    tools = make(seconds=1)
    tools.warm_up()
    new_children()[0].suspend()
    with pytest.raises(InputRejected, match="takes longer"):
        tools.open(bytes(10 * MB))


def test_an_image_that_needs_too_much_memory_is_refused(make: Make, png: bytes) -> None:
    tools = make(memory=100 * MB)
    with pytest.raises(InputRejected, match="more memory than the 100 MB allowed"):
        tools.process(png, [LARGE])
    assert tools.open(png).width == 200


def test_a_webp_that_needs_too_much_memory_is_refused_for_that_reason(make: Make, save: Save) -> None:
    tools = make(memory=150 * MB)
    data = save(Image.new("RGBA", (3000, 3000), (1, 2, 3, 100)), "PNG", compress_level=1)
    with pytest.raises(InputRejected, match="more memory than the 150 MB allowed"):
        tools.render(data, Output(thumbnail=None))


def test_an_image_that_cannot_even_be_decoded_is_refused_for_that_reason(make: Make, save: Save) -> None:
    data = save(Image.new("1", (7000, 7000)), "PNG")
    with pytest.raises(InputRejected, match="more memory than the 64 MB allowed"):
        make(memory=64 * MB).open(data)


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_an_image_that_crashes_its_decoder_is_refused(
    make: Make, png: bytes, new_children: Any, crash: signal.Signals
) -> None:
    tools = make()
    with ThreadPoolExecutor(1) as thread:
        work = _in_mid_work(thread, tools, png, new_children)
        new_children()[0].send_signal(crash)
        with pytest.raises(InputRejected, match=f"crashed its decoder .{crash.name}"):
            work.result()
    assert tools.open(png).width == 200


def test_a_child_killed_in_mid_work_is_replaced_and_the_work_is_done(make: Make, png: bytes, new_children: Any) -> None:
    tools = make()
    with ThreadPoolExecutor(1) as thread:
        work = _in_mid_work(thread, tools, png, new_children, SMALLER)
        [first] = new_children()
        first.kill()
        assert work.result().image.width == SMALLER.width
    assert [child.pid for child in new_children()] != [first.pid]


def test_a_child_killed_twice_is_a_fault_of_ours(make: Make, png: bytes, new_children: Any) -> None:
    tools = make()
    with ThreadPoolExecutor(1) as thread:
        work = _in_mid_work(thread, tools, png, new_children)
        [first] = new_children()
        first.kill()
        until(lambda: any(child.pid != first.pid for child in new_children()))
        for child in new_children():
            child.kill()
        with pytest.raises(InternalError, match="lost 2 times in a row"):
            work.result()


def _in_mid_work(thread: ThreadPoolExecutor, tools: ImageTools, png: bytes, found: Any, resize: Resize = LARGE) -> Any:
    """Work that is being done by the only child."""
    tools.warm_up()
    working = found()
    idle = used(working)
    work = thread.submit(tools.process, png, [resize])
    until(lambda: used(working) > idle)
    return work


def test_a_child_killed_while_idle_is_not_noticed(make: Make, png: bytes, new_children: Any) -> None:
    tools = make()
    tools.warm_up()
    new_children()[0].kill()
    assert tools.open(png).width == 200


def test_children_ignore_the_signals_that_stop_a_worker(make: Make, png: bytes, new_children: Any) -> None:
    tools = make()
    tools.warm_up()
    [child] = new_children()
    for stop in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(stop)
    assert tools.open(png).width == 200
    assert new_children() == [child]
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_the_clocks_of_one_operation_do_not_strike_the_next(make: Make, png: bytes, new_children: Any) -> None:
    tools = make(seconds=1)
    tools.open(png)
    before = new_children()
    sleep(1.1)
    tools.open(png)
    assert new_children() == before


def test_many_threads_share_few_children(make: Make, save: Save, new_children: Any) -> None:
    tools = make(2)
    files = [save(Image.new("RGB", (10 + n, 10)), "PNG") for n in range(40)]
    with ThreadPoolExecutor(20) as threads:
        widths = [picture.width for picture in threads.map(tools.open, files)]
    assert widths == [10 + n for n in range(40)]
    assert len(new_children()) == 2


def test_children_start_when_needed_or_when_warmed_up(make: Make, png: bytes, new_children: Any) -> None:
    tools = make(3)
    assert not new_children()
    tools.open(png)
    tools.open(png)
    assert len(new_children()) == 1
    tools.warm_up()
    assert len(new_children()) == 3


def test_a_child_is_replaced_after_its_share(make: Make, png: bytes, new_children: Any) -> None:
    tools = make(served_limit=2)
    seen: set[int] = set()
    for _ in range(4):
        tools.open(png)
        seen |= {child.pid for child in new_children()}
    assert (len(seen), len(new_children())) == (2, 1)


def test_close_ends_the_children_and_whoever_waits_for_them(make: Make, png: bytes, new_children: Any) -> None:
    tools = make()
    with ThreadPoolExecutor(2) as threads:
        work = [_in_mid_work(threads, tools, png, new_children), threads.submit(tools.open, png)]
        tools.close()
        for waiting in work:
            with pytest.raises(InternalError, match="the worker is stopping"):
                waiting.result()
    assert not new_children()
    with pytest.raises(InternalError, match="the worker is stopping"):
        tools.open(png)


def test_a_child_knows_no_secret(make: Make, png: bytes, new_children: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@h/d")
    make().open(png)
    [child] = new_children()
    environment = child.environ()
    assert "secret" not in str(environment)
    assert set(environment) <= {"PATH", "LANG", "PYTHONPATH"}


def test_a_child_is_confined(make: Make, png: bytes, new_children: Any) -> None:
    make(memory=512 * MB, seconds=7).open(png)
    [child] = new_children()

    def limit(which: int) -> int:
        return resource.prlimit(child.pid, which)[0]

    assert limit(resource.RLIMIT_AS) == 512 * MB
    assert 7 <= limit(resource.RLIMIT_CPU) <= 9
    assert limit(resource.RLIMIT_FSIZE) == 0
    assert limit(resource.RLIMIT_CORE) == 0


def test_the_worker_does_not_load_the_decoder() -> None:
    code = "import sys, generation_worker.images.tools; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_child_loads_nothing_heavy() -> None:
    code = "import sys, generation_worker.images.child; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


PARENT = """
import sys
from generation_worker.domain.payload import Resize
from generation_worker.images.tools import ImageTools
tools = ImageTools(2)
tools.warm_up()
print("ready", flush=True)
if image := sys.stdin.buffer.read():
    tools.process(image, [Resize(type="resize", width=5000, height=5000, fit="fill")])
"""


@pytest.mark.parametrize("busy", [False, True])
def test_when_the_worker_is_killed_no_child_is_left(png: bytes, busy: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        orphans = children(parent.pid)
        assert len(orphans) == 2
        if busy:
            idle = used(orphans)
            parent.stdin.write(png)
            parent.stdin.close()
            until(lambda: used(orphans) > idle)
        parent.kill()
    until(lambda: not any(map(alive, orphans)))


def test_without_a_parent_s_clock_a_child_ends_by_its_own(png: bytes) -> None:
    limits = ImageLimits(seconds=0.05)
    ours, theirs = socket.socketpair()
    arguments = [sys.executable, "-m", MODULE, limits.to_json()]
    with ours, theirs, subprocess.Popen(arguments, stdin=theirs.fileno()) as child:
        assert receive(ours, 0)[0] == {"ready": True}
        send(ours, {"do": "process", "operations": [LARGE.model_dump()]}, png)
        assert child.wait(10) == -signal.SIGALRM

"""Checks of the storage with a small object under a key of its own: written, read, linked, listed, deleted."""

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from generation_worker.config import Settings
from generation_worker.doctor.check import Check, Verdicts
from generation_worker.domain.errors import StorageUnavailable
from generation_worker.domain.estimate import span
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.ports import Storage

SOON = 300.0
"""Seconds for which a link is signed."""
MOST_BYTES = 10_000
SECONDS = 10.0
"""For each step of the request."""
WORTH_A_WARNING, REFUSED = 60.0, 900.0
"""Seconds. Beyond the second S3 says RequestTimeTooSkewed."""
PREFIX = "doctor"
SETTINGS = {
    "s3": "S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, S3_ENDPOINT_URL",
    "r2": "R2_BUCKET, R2_ACCOUNT_ID, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY",
    "disk": "STORAGE_DIR",
}
JURISDICTION = (
    ". A bucket of a jurisdiction, such as the EU, has an endpoint of its own: "
    "use S3_BUCKET, AWS_… and S3_ENDPOINT_URL=https://ACCOUNT.eu.r2.cloudflarestorage.com for it"
)
R2 = ".r2.cloudflarestorage.com"


class LinkAnswer(NamedTuple):
    """What a link led to. ``status`` is None if there was no answer; ``description`` is for people."""

    description: str
    status: int | None = None
    body: bytes = b""
    date: str | None = None


class StorageTrial:
    """Checks with one object. They belong together: what one writes, another deletes."""

    def __init__(self, build: Callable[[], Storage], name: str, *, public: bool) -> None:
        self._build = build
        self._name = name
        self._public = public
        self._key = f"{PREFIX}/{uuid4().hex}.txt"
        self._data = f"generation-worker doctor {uuid4().hex}".encode()
        self._tried = False
        self._storage: Storage | None = None

    def checks(self) -> list[Check]:
        return [
            self._check("put", self._put, prepare=self.load),
            self._check("get", self._get, needs=("storage.put",)),
            self._check("link", self._link, needs=("storage.put",)),
            self._check("list", self._list),
            self._check("delete", self._delete),
            self._check("clock", lambda storage: examine_clock(storage, self._key)),
        ]

    def load(self) -> Storage:
        """The storage with its library loaded; sends nothing."""
        if self._storage is None:
            self._storage = self._build()
            self._storage.link(self._key, seconds=SOON)
        return self._storage

    def _check(
        self,
        step: str,
        run: Callable[[Storage], Verdicts],
        needs: tuple[str, ...] = (),
        prepare: Callable[[], object] | None = None,
    ) -> Check:
        def attempt() -> Verdicts:
            try:
                return run(self.load())
            except StorageUnavailable as error:
                return self._refused(error)

        return Check(f"storage.{step}", attempt, needs, prepare)

    def _put(self, storage: Storage) -> Verdict:
        self._tried = True
        try:
            storage.put(self._key, self._data, "text/plain")
        except StorageUnavailable as error:
            self._tried = not error.remedy  # with one it was refused; without, that is unknown
            raise
        return ok(f"{self._name}: {len(self._data)} bytes are written")

    def _get(self, storage: Storage) -> Verdict:
        if storage.get(self._key) == self._data:
            return ok("the same bytes are read")
        return fault("what was written is not what is read", f"Do all parts of it use one bucket? {self._settings}")

    def _link(self, storage: Storage) -> Verdict:
        address = storage.link(self._key, seconds=SOON)
        if address is None:
            return skipped("files have no address that a browser could open")
        fetched = fetch_link(address)
        if fetched.body == self._data:
            return ok(f"fetched as a browser does, {'for everybody' if self._public else 'signed'}")
        return fault(f"the link does not lead to the object: {fetched.description}", self._link_remedy(fetched))

    def _list(self, storage: Storage) -> Verdict:
        found = [stored.key for stored in storage.keys(self._key, start_after="", limit=2)]
        if not self._tried or found == [self._key]:
            return ok("its keys are listed")
        return warning(
            "what was written is not listed", "The sweep of orphans will not find it; does a cache answer the listing?"
        )

    def _delete(self, storage: Storage) -> Verdict:
        if not self._tried:
            return skipped("nothing was written")
        storage.delete(self._key)
        if storage.get(self._key) is None:
            return ok("deleted, and gone")
        return fault(f"{self._key} was deleted and is still there", f"Delete it by hand. {self._settings}")

    def _refused(self, error: StorageUnavailable) -> Verdict:
        remedy = error.remedy[:1].upper() + error.remedy[1:]
        detail = error.message.removesuffix(f": {error.remedy}") if remedy else error.message
        return fault(detail, f"{remedy or 'Look whether it is there and can be reached'}. {self._settings}")

    def _link_remedy(self, fetched: LinkAnswer) -> str:
        if self._public:
            return (
                "Connect R2_PUBLIC_URL to this very bucket and let everybody read it, or remove it to have links signed"
            )
        if fetched.status is None:
            return f"Can browsers reach that address? {self._settings}"
        return f"Are bucket, region and endpoint right, and may the key read? {self._settings}"

    @property
    def _settings(self) -> str:
        also = JURISDICTION if self._name == "r2" else ""
        return f"Settings: {SETTINGS.get(self._name, self._name)}{also}"


def fetch_link(address: str) -> LinkAnswer:
    headers = {"User-Agent": "generation-worker doctor", "Accept-Encoding": "identity"}
    try:
        with (
            httpx2.Client(timeout=SECONDS, follow_redirects=True, headers=headers) as client,
            client.stream("GET", address) as answer,
        ):
            body = b"".join(_until_enough(answer.iter_raw(MOST_BYTES)))
            return LinkAnswer(f"HTTP {answer.status_code}", answer.status_code, body, answer.headers.get("date"))
    except httpx2.HTTPError as error:
        return LinkAnswer(f"no answer ({type(error).__name__})")


def examine_clock(storage: Storage, key: str) -> Verdict:
    """Compare the clocks by the date of an answer, which may be a refusal."""
    address = storage.link(key, seconds=SOON)
    if address is None:
        return skipped("files have the clock of this machine")
    sent = time.time()
    fetched = fetch_link(address)
    ahead = _ahead(fetched.date, (sent + time.time()) / 2)
    if ahead is None:
        return skipped(f"the storage does not say what time it is ({fetched.description})")
    difference = f"this machine is {span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the storage"
    if abs(ahead) > REFUSED:
        return fault(f"{difference}: what it signs is refused", "Synchronise its clock (NTP)")
    if abs(ahead) > WORTH_A_WARNING:
        return warning(
            difference, "Synchronise its clock (NTP): from a quarter of an hour on, what it signs is refused"
        )
    return ok("this machine and the storage agree within a minute")


def examine_settings(settings: Settings) -> list[Verdict]:
    """Settings of a bucket that are valid and probably lead to another place than intended."""
    if settings.storage == "s3" and settings.s3_endpoint_url is not None:
        return list(_endpoint(settings.s3_endpoint_url, settings.s3_bucket or ""))
    if settings.storage == "r2" and (urlsplit(settings.r2_public_url or "").hostname or "").endswith(".r2.dev"):
        problem = "R2_PUBLIC_URL is a development address of Cloudflare's, which limits the requests"
        return [warning(problem, "Connect a domain of your own to the bucket and name that")]
    return []


def _until_enough(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        yield chunk
        size += len(chunk)
        if size > MOST_BYTES:
            return


def _ahead(date: str | None, now: float) -> float | None:
    """Seconds; None without a date that can be read."""
    try:
        return None if date is None else now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _endpoint(url: str, bucket: str) -> Iterator[Verdict]:
    address = urlsplit(url)
    host = address.hostname or ""
    if address.path.strip("/") == bucket:
        yield fault("S3_ENDPOINT_URL names the bucket too", f"Remove /{bucket} from it: S3_BUCKET says it")
    if host.startswith(f"{bucket}."):
        yield fault("S3_ENDPOINT_URL names the bucket too", f"Remove {bucket}. from it: S3_BUCKET says it")
    if host.endswith(R2) and host.count(".") == R2.count("."):
        yield warning(
            "S3_ENDPOINT_URL is Cloudflare's: each write waits a second for an answer that R2 does not give",
            "Set R2_BUCKET, R2_ACCOUNT_ID, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY instead",
        )

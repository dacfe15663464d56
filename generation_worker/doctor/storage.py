"""The storage, tried with a small object under a key of its own."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from generation_worker.doctor.check import Check, Verdicts
from generation_worker.doctor.link import SOON, Fetched, fetch
from generation_worker.doctor.storage_clock import examine_clock
from generation_worker.domain.errors import StorageUnavailable
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.ports import Storage

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


class Trial:
    """What becomes of one object. The steps belong together: what one writes, another deletes."""

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
        """The storage with its library loaded; asks nobody."""
        if self._storage is None:
            self._storage = self._build()
            self._storage.link(self._key, seconds=SOON)
        return self._storage

    def _check(
        self,
        step: str,
        look: Callable[[Storage], Verdicts],
        needs: tuple[str, ...] = (),
        prepare: Callable[[], object] | None = None,
    ) -> Check:
        def told() -> Verdicts:
            try:
                return look(self.load())
            except StorageUnavailable as error:
                return self._refused(error)

        return Check(f"storage.{step}", told, needs, prepare)

    def _put(self, storage: Storage) -> Verdict:
        self._tried = True
        try:
            storage.put(self._key, self._data, "text/plain")
        except StorageUnavailable as error:
            self._tried = not error.remedy  # with one it was refused; without, nobody knows
            raise
        return ok(f"{self._name}: {len(self._data)} bytes are written")

    def _get(self, storage: Storage) -> Verdict:
        if storage.get(self._key) == self._data:
            return ok("the same bytes are read")
        return fault("what was written is not what is read", f"Do all of its parts see one bucket? {self._settings}")

    def _link(self, storage: Storage) -> Verdict:
        address = storage.link(self._key, seconds=SOON)
        if address is None:
            return skipped("files have no address that a browser could open")
        fetched = fetch(address)
        if fetched.body == self._data:
            return ok(f"fetched as a browser does, {'for everybody' if self._public else 'signed'}")
        return fault(f"the link does not lead to the object: {fetched.told}", self._link_remedy(fetched))

    def _list(self, storage: Storage) -> Verdict:
        found = [stored.key for stored in storage.keys(self._key, start_after="", limit=2)]
        if not self._tried or found == [self._key]:
            return ok("its keys are listed")
        return warning(
            "what was written is not listed", "The sweep of orphans will not see it; is it a cache that lists?"
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

    def _link_remedy(self, fetched: Fetched) -> str:
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

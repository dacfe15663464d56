"""What the worker needs from the outside, in its own words. Adapters fulfil these; the worker knows no adapter."""

from generation_worker.ports.adapters import (
    Checkable,
    Control,
    Fetcher,
    Generated,
    GenerationRequest,
    Images,
    Picture,
    Provider,
    Rendered,
    Storage,
    StoredObject,
    Watch,
    WebhookReader,
)
from generation_worker.ports.calls import Admission, CallBegun, CallReport, GateNews, Staged
from generation_worker.ports.fleet import DisabledEndpoint, FleetNews, FleetPause, WorkerCard
from generation_worker.ports.leases import Claim, Expiry, Key, Promotion, Reclaim, Refusal, Renewal, Suspect
from generation_worker.ports.outages import StoreBusy, StoreUnavailable
from generation_worker.ports.signals import Signals
from generation_worker.ports.store import Store
from generation_worker.ports.webhooks import Delivery, Outbox, Poster, Recorded

__all__ = [
    "Admission",
    "CallBegun",
    "CallReport",
    "Checkable",
    "Claim",
    "Control",
    "Delivery",
    "DisabledEndpoint",
    "Expiry",
    "Fetcher",
    "FleetNews",
    "FleetPause",
    "GateNews",
    "Generated",
    "GenerationRequest",
    "Images",
    "Key",
    "Outbox",
    "Picture",
    "Poster",
    "Promotion",
    "Provider",
    "Reclaim",
    "Recorded",
    "Refusal",
    "Rendered",
    "Renewal",
    "Signals",
    "Staged",
    "Storage",
    "Store",
    "StoreBusy",
    "StoreUnavailable",
    "StoredObject",
    "Suspect",
    "Watch",
    "WebhookReader",
    "WorkerCard",
]

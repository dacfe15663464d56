"""What Replicate's answers about a token and a model mean for ``doctor``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from generation_worker.domain.errors import JobError, ProviderLimited, ProviderRefused, ProviderRejected
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.providers.call_watch import Unattended
from generation_worker.providers.http_answers import NoAnswer
from generation_worker.providers.loose_json import Json, object_in
from generation_worker.providers.replicate_errors import error_of

if TYPE_CHECKING:
    from generation_worker.providers.replicate_http import ReplicateHttp

ACCESS = (
    "Make a token at https://replicate.com/account/api-tokens and put it into REPLICATE_API_TOKEN. "
    "For a token that is right: is there credit, see https://replicate.com/account/billing?"
)
MODEL = "Set REPLICATE_MODEL to a model of https://replicate.com/explore, as owner/name or owner/name:version"
ADDRESS = "Remove REPLICATE_BASE_URL, or set it to an address that speaks Replicate's API"
NETWORK = "Can this machine reach REPLICATE_BASE_URL, and the proxy in HTTPS_PROXY if there is one?"
LATER = "Wait, or raise the limit at https://replicate.com/account/billing; jobs wait by themselves"


def examine(http: ReplicateHttp, key_label: str, model: str, *, seconds: float) -> Verdict:
    """Each of the two requests may take half of ``seconds``."""
    try:
        account = _read(http, "/v1/account", model, seconds / 2)
        found = _read(http, _path(model), model, seconds / 2)
    except JobError as error:
        return _refused(error, key_label)
    owner = account.get("username")
    if not isinstance(owner, str) or not found:
        return fault(f"{key_label}: what answers is not Replicate's API", ADDRESS)
    return ok(f"{key_label}: the token of {owner[:100]} is accepted, {model} is there")


def _path(model: str) -> str:
    name, _, version = model.partition(":")
    return f"/v1/models/{name}/versions/{version}" if version else f"/v1/models/{name}"


def _read(http: ReplicateHttp, path: str, model: str, seconds: float) -> Json:
    """Raises ProviderError."""
    try:
        answer = http.look(path, Unattended(seconds))
    except NoAnswer as silence:
        raise silence.to_paid_call("Replicate") from None
    if answer.status != 200:
        raise error_of(answer, model, datetime.now(UTC))
    return object_in(answer.json())


def _refused(error: JobError, key_label: str) -> Verdict:
    said = f"{key_label}: {error.message}"
    match error:
        case ProviderLimited():
            return warning(said, LATER)
        case ProviderRefused():
            return fault(said, ACCESS)
        case ProviderRejected():
            return fault(said, MODEL)
        case _:
            return fault(said, NETWORK)

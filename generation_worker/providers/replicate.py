"""Models on Replicate. A prediction's id is stored before its result is awaited, so a crash pays for nothing twice.

Neither the SDK nor requests is used: replicate 1.0.7 creates a prediction without any timeout, does not know the status
``aborted``, repeats requests for up to a minute, hides Retry-After and sends the token to the host of a picture. A
timeout of requests applies to one read, so a server that drips is awaited for ever. Five endpoints are therefore called
with the HTTP client that Gemini's calls use: a timeout covers the whole request, a cancellation takes effect at once,
and the adapter knows whether a request was sent, and so whether it may have been paid.

| response | outcome | paid |
|---|---|---|
| an address or a data: URI of a picture, or a list of them | Generated | yes |
| failed: sensitive content (E005), NSFW | ContentBlocked | maybe |
| failed: anything else | ProviderUnavailable | unknown |
| succeeded without a picture | NoImage | yes |
| canceled, aborted | ProviderUnavailable; CallLost if an earlier attempt had created it | yes, no |
| the prediction is gone (404, data_removed, no file) | CallLost | yes |
| create: 401, 402, 403, a redirect | ProviderRefused | no |
| create: 404, 422 (the fields are named), another 4xx | ProviderRejected | no |
| create: 429 | ProviderLimited, with the wait that the response names | no |
| create: 5xx, no complete response after the request was sent, no id | ProviderUnavailable, ProviderTimedOut | maybe |
| create: no connection | ProviderUnavailable | no |
| await and download: 429, 5xx, no response, no prediction | retried until the attempt's deadline | |
| await: 401, 402, 403 | ProviderRefused; the next attempt resumes the prediction | |

A webhook, where configured, only shortens the pause before the next poll. The poll's response alone counts.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, StringConstraints, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from generation_worker.domain import errors
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.domain.webhook import Notice, NoticeRefused, SignatureInvalid
from generation_worker.ports import Control, Generated, GenerationRequest, Picture
from generation_worker.providers import replicate_http
from generation_worker.providers.http import DeadlineControl, HttpResponse, Json, NoResponse, object_in

REPLICATE = "https://api.replicate.com"
SHORTEST_RUN, LONGEST_RUN = 5, 1800
"""Seconds: the bounds that Replicate sets for the duration limit of a prediction."""
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.5, 5.0, 1.25
"""Seconds between two tries, and the factor by which each pause is longer than the one before."""
LONGEST_WAIT = 30.0
"""Longest delay of a poll, in seconds, whatever wait a 429 names."""
MISSING_LIMIT = 3
"""A file that is missing this often is gone; the first time it may only be late."""
GONE = frozenset({403, 404, 410})
CANCEL_TIMEOUT = 3.0
"""Seconds for cancelling a prediction at Replicate."""
LARGEST_DATA_URI = 256_000
"""Characters. Larger input pictures are uploaded first and passed by address."""
DEFAULT_SIZE = "1K"
"""What every model makes when the request names no size; some models reject the word."""


class ReplicateProvider:
    """One token of Replicate. Safe to use from up to ``threads`` threads at once.

    ``timeout`` is for one HTTP request, in seconds; a prediction may take as long as the attempt. ``longest_pause`` is
    the longest time between two polls, in seconds. ``webhook`` is the address that Replicate notifies when a
    prediction ends. Raises ValueError for a token that cannot be sent in a header.
    """

    name = "replicate"

    def __init__(
        self,
        *,
        token: str,
        model: str,
        base_url: str | None,
        timeout: float,
        threads: int,
        longest_pause: float = LONGEST_PAUSE,
        webhook: str | None = None,
    ) -> None:
        if not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise ValueError("the Replicate token must be printable ASCII without spaces around it: copy it again")
        self.key_label = "replicate-" + hashlib.sha256(token.encode()).hexdigest()[:8]
        self.model = model
        self._http = replicate_http.ReplicateHttp(
            token=token, base_url=base_url or REPLICATE, timeout=timeout, threads=threads
        )
        self._webhook = webhook
        self._poll_interval = PollInterval.of_polls(longest_pause, notified=webhook is not None)

    def __repr__(self) -> str:
        return f"ReplicateProvider(key_label={self.key_label!r}, model={self.model!r})"

    def warm_up(self) -> None:
        """Load the HTTP client; sends no request."""
        self._http.warm_up()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._http.close()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """Create or resume one prediction and return its picture; the table above lists how it can end."""
        control.check()
        http = self._http
        resumed = request.resume is not None
        created = (
            replicate_http.Prediction(request.resume, replicate_http.UNSEEN)
            if request.resume
            else self._create(http, request, control)
        )
        ended = await_end(http, created, control, self._poll_interval)
        address = ended.picture(resumed=resumed)
        is_data = address[:5].lower() == "data:"
        data = replicate_http.decode_data_uri(address) if is_data else download(http, address, control)
        return Generated(data, ended.model or self.model, ended.id, ended.usage)

    def check(self, *, seconds: float) -> Verdict:
        """Look up the token's account and the model: two requests that cost nothing, in ``seconds`` at most."""
        try:
            account = _read(self._http, "/v1/account", self.model, seconds / 2)
            found = _read(self._http, _model_path(self.model), self.model, seconds / 2)
        except errors.JobError as error:
            return _error_verdict(error, self.key_label)
        owner = account.get("username")
        if not isinstance(owner, str) or not found:
            return fault(f"{self.key_label}: the response is not from Replicate's API", ADDRESS_REMEDY)
        return ok(f"{self.key_label}: the token of {owner[:100]} is accepted, {self.model} is there")

    def _create(
        self, http: replicate_http.ReplicateHttp, request: GenerationRequest, control: Control
    ) -> replicate_http.Prediction:
        inputs = model_input(request, lambda picture: self._uploaded(http, picture, control))
        path, body = creation(self.model, inputs, self._webhook)
        seconds = min(max(int(control.seconds_left()), SHORTEST_RUN), LONGEST_RUN)
        try:
            response = http.create(path, body, seconds, control)
        except NoResponse as error:
            raise error.to_paid_call("Replicate") from None
        if not 200 <= response.status < 300:
            raise replicate_http.response_error(response, self.model, datetime.now(UTC))
        created = replicate_http.Prediction.read(response.json())
        if created is None:
            raise errors.ProviderUnavailable("Replicate's response to the request is not a prediction.", spent=True)
        control.remember(created.id)
        return created

    def _uploaded(self, http: replicate_http.ReplicateHttp, picture: Picture, control: Control) -> str:
        """Upload an input picture, which is free, and return its address."""
        name = f"input.{picture.content_type.rpartition('/')[2]}"
        try:
            response = http.upload(name, picture, control)
        except NoResponse as error:
            raise errors.ProviderUnavailable(f"An input could not be uploaded to Replicate ({error}).") from None
        if not 200 <= response.status < 300:
            refusal = replicate_http.response_error(response, self.model, datetime.now(UTC))
            refusal.spent = False
            raise refusal
        address = object_in(object_in(response.json()).get("urls")).get("get")
        if not isinstance(address, str):
            raise errors.ProviderUnavailable("Replicate accepted an uploaded input but returned no address for it.")
        return address


class ReplicateWebhook:
    """Reads the webhooks that Replicate sends when a prediction ends. Safe to use from many threads at once.

    They are hints: only the prediction's id is read, and the prediction itself is polled. Replicate signs them as
    Standard Webhooks prescribes, over ``webhook-id`` (the same when a webhook is sent again), ``webhook-timestamp`` in
    seconds, and the body, with the account's secret. Any of ``secrets`` is accepted, so that they can be rotated
    without a gap.
    """

    most_bytes = 8_000_000
    """The body contains the prediction's inputs, up to fourteen pictures as data: URIs."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The notice in a request; the names of ``headers`` are in lower case.

        Raises SignatureInvalid, also for a timestamp more than five minutes away, before the body is read; then
        NoticeRefused.
        """
        if not any(_is_signed(secret, headers, body) for secret in self._secrets):
            raise SignatureInvalid("The signature does not match, or its timestamp is more than five minutes away.")
        try:
            return Notice.of(_WebhookBody.model_validate_json(body).id, headers["webhook-id"])
        except ValidationError:
            pass
        raise NoticeRefused("The body is not a prediction with an id.")


class _WebhookBody(BaseModel):
    """The part of the body that is read. Nesting beyond 200 levels, anywhere in the body, is rejected."""

    id: Annotated[str, StringConstraints(pattern=f"^{replicate_http.ID.pattern}$")]


def _is_signed(secret: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: the body or the signature cannot be decoded
        return False
    return True


# Creating a prediction.


def model_input(request: GenerationRequest, upload: Callable[[Picture], str]) -> dict[str, Any]:
    """The prediction's input; options that the request omits are left to the model's defaults.

    ``upload`` stores a picture and returns its address.
    """
    size = request.image_size if request.image_size != DEFAULT_SIZE else None
    options: dict[str, Any] = {
        "prompt": request.prompt,
        "image_input": [_data_uri(picture) or upload(picture) for picture in request.images],
        "aspect_ratio": request.aspect_ratio,
        "resolution": size,
        "output_format": "png",  # the stored image is converted from it, so it must be lossless
    }
    return {name: value for name, value in options.items() if value}


def creation(model: str, model_input: Mapping[str, Any], webhook: str | None) -> tuple[str, dict[str, Any]]:
    """Path and body of the request that creates a prediction by ``owner/name`` or ``owner/name:version``.

    ``webhook`` is the address that Replicate notifies when the prediction ends, and only then.
    """
    notify = {"webhook": webhook, "webhook_events_filter": ["completed"]} if webhook else {}
    name, _, version = model.partition(":")
    if version:
        return "/v1/predictions", {"version": version, "input": model_input, **notify}
    return f"/v1/models/{name}/predictions", {"input": model_input, **notify}


def _data_uri(picture: Picture) -> str | None:
    head = f"data:{picture.content_type};base64,"
    if len(head) + (len(picture.data) + 2) // 3 * 4 > LARGEST_DATA_URI:
        return None
    return head + base64.b64encode(picture.data).decode()


# Awaiting a prediction and downloading its picture: a failed request does not give up what is paid for.


class PollInterval(NamedTuple):
    """The first and the longest pause, in seconds."""

    first: float
    longest: float

    @classmethod
    def of_polls(cls, longest: float, *, notified: bool) -> Self:
        """Short pauses at first, because most pictures are quick; longer ones if a webhook announces the end."""
        return cls(longest / 4 if notified else min(FIRST_PAUSE, longest), longest)


RETRY_INTERVAL = PollInterval(FIRST_PAUSE, LONGEST_PAUSE)


class Backoff:
    """Pauses between tries: each longer than the one before, and at least as long as a 429 names."""

    def __init__(self, control: Control, interval: PollInterval = RETRY_INTERVAL) -> None:
        self._control = control
        self._next, self._longest = interval

    def pause(self, response: HttpResponse | None = None, *, wake_on: str | None = None) -> None:
        """Raises what ``Control.pause`` raises. A wait that a 429 names is not shortened by a notice."""
        if response is not None and response.status == 429:
            wait = replicate_http.requested_wait(response, datetime.now(UTC)) or 0.0
            self._control.pause(max(self._next, min(wait, LONGEST_WAIT)))
        else:
            self._control.pause(self._next, wake_on=wake_on)
        self._next = min(self._next * GROWTH, self._longest)


def await_end(
    http: replicate_http.ReplicateHttp, created: replicate_http.Prediction, control: Control, interval: PollInterval
) -> replicate_http.Prediction:
    """Poll until the prediction has ended; cancel it at Replicate if the job is cancelled or its time is up.

    Raises CallLost, ProviderRefused, and what ``Control.pause`` raises.
    """
    current, polls, retries = created, Backoff(control, interval), Backoff(control)
    try:
        if created.running and created.status != replicate_http.UNSEEN:
            polls.pause(wake_on=created.id)
        while current.running:
            response = _poll(http, created.id, control)
            seen = _prediction_in(response)
            current = seen or current
            if current.running:
                # A failed poll is repeated soon: the notice that triggered it does not come again.
                (polls if seen else retries).pause(response, wake_on=created.id)
    except (errors.CancelRequested, errors.AttemptTimedOut):
        _cancel(http, created.id)
        raise
    return current


def download(http: replicate_http.ReplicateHttp, address: str, control: Control) -> bytes:
    """The file at ``address``. Raises CallLost if it is gone, OutputRejected, and what ``Control.pause`` raises."""
    backoff, missing = Backoff(control), 0
    while True:
        response = _fetch(http, address, control)
        if response and response.status == 200 and response.body:
            return response.body
        missing += response is not None and response.status in GONE
        if missing == MISSING_LIMIT:
            raise errors.CallLost("Replicate made the picture, but its file is gone.")
        backoff.pause(response)


def _poll(http: replicate_http.ReplicateHttp, prediction_id: str, control: Control) -> HttpResponse | None:
    try:
        return http.prediction(prediction_id, control)
    except NoResponse:
        return None


def _prediction_in(response: HttpResponse | None) -> replicate_http.Prediction | None:
    """None if the response does not contain the prediction's state, which is no reason to give it up."""
    if response is None:
        return None
    if response.status in (404, 410):
        raise errors.CallLost(f"Replicate no longer knows the prediction ({response.status}).")
    if response.status in replicate_http.OPERATOR_MUST_ACT:
        raise replicate_http.response_error(response, "", datetime.now(UTC))
    return replicate_http.Prediction.read(response.json()) if response.status == 200 else None


def _fetch(http: replicate_http.ReplicateHttp, address: str, control: Control) -> HttpResponse | None:
    try:
        return http.download(address, control)
    except NoResponse:
        return None


def _cancel(http: replicate_http.ReplicateHttp, prediction_id: str) -> None:
    """Best effort: Replicate may charge for it anyway, and Cancel-After ends it if this request does not arrive."""
    with suppress(NoResponse, errors.JobError):
        http.cancel(prediction_id, DeadlineControl(CANCEL_TIMEOUT))


# Checking a token and a model for ``doctor``.


ACCESS_REMEDY = (
    "Create a token at https://replicate.com/account/api-tokens and set REPLICATE_API_TOKEN. If the token is right, "
    "check that its account has credit: https://replicate.com/account/billing"
)
MODEL_REMEDY = "Set REPLICATE_MODEL to a model of https://replicate.com/explore, as owner/name or owner/name:version"
ADDRESS_REMEDY = "Remove REPLICATE_BASE_URL, or set it to the address of a server with Replicate's API"
NETWORK_REMEDY = "Check that this machine can reach REPLICATE_BASE_URL, and the proxy in HTTPS_PROXY if there is one"
LIMIT_REMEDY = "Wait, or raise the limit at https://replicate.com/account/billing; jobs wait by themselves"


def _model_path(model: str) -> str:
    name, _, version = model.partition(":")
    return f"/v1/models/{name}/versions/{version}" if version else f"/v1/models/{name}"


def _read(http: replicate_http.ReplicateHttp, path: str, model: str, seconds: float) -> Json:
    """Raises ProviderError."""
    try:
        response = http.get(path, DeadlineControl(seconds))
    except NoResponse as error:
        raise error.to_paid_call("Replicate") from None
    if response.status != 200:
        raise replicate_http.response_error(response, model, datetime.now(UTC))
    return object_in(response.json())


def _error_verdict(error: errors.JobError, key_label: str) -> Verdict:
    problem = f"{key_label}: {error.message}"
    match error:
        case errors.ProviderLimited():
            return warning(problem, LIMIT_REMEDY)
        case errors.ProviderRefused():
            return fault(problem, ACCESS_REMEDY)
        case errors.ProviderRejected():
            return fault(problem, MODEL_REMEDY)
        case _:
            return fault(problem, NETWORK_REMEDY)

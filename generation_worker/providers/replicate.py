"""Models on Replicate. A prediction's id is remembered before it is awaited, so a crash costs nothing.

Neither the SDK nor requests: replicate 1.0.7 creates without any timeout, does not know the status ``aborted``, repeats
requests for a minute by itself, hides Retry-After and sends the token to whatever host a picture lies on. A timeout of
requests holds for one read, so a server that drips is waited for all day. So five endpoints are spoken here, over
the connections that Gemini's calls use: a call's time is the time for all of it, a cancel is heard at once, and it is
known whether a request went out, and so whether it may have been paid.

| what comes back | outcome | paid |
|---|---|---|
| an address or a data: URI of a picture, or a list of them | Generated | yes |
| failed: sensitive content (E005), NSFW | ContentBlocked | maybe |
| failed: anything else | ProviderUnavailable | unknown |
| succeeded without a picture | NoImage | yes |
| canceled, aborted | ProviderUnavailable; CallLost if an earlier attempt had begun it | yes, no |
| it is not there any more (404, data_removed, no file) | CallLost | yes |
| create: 401, 402, 403, a redirect | ProviderRefused | no |
| create: 404, 422 (the fields are named), another 4xx | ProviderRejected | no |
| create: 429 | ProviderLimited, with the wait that was asked for | no |
| create: 5xx, no whole answer after the request went out, no id | ProviderUnavailable, ProviderTimedOut | unknown |
| create: no connection | ProviderUnavailable | no |
| await and download: 429, 5xx, no answer, no prediction | asked again until the attempt's deadline | |
| await: 401, 402, 403 | ProviderRefused; the prediction is taken up again by the next attempt | |

A webhook, if there is one, ends a pause between two looks. What is true is always what the look brings.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, StringConstraints, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from generation_worker.domain.errors import (
    AttemptTimedOut,
    CallLost,
    CancelRequested,
    JobError,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
)
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.domain.webhook import Notice, NoticeRefused, SignatureInvalid
from generation_worker.ports import Control, Generated, GenerationRequest, Picture
from generation_worker.providers.http import Answer, Json, NoAnswer, Unattended, object_in
from generation_worker.providers.replicate_http import (
    ID,
    OPERATOR_MUST_ACT,
    UNSEEN,
    Prediction,
    ReplicateHttp,
    decoded,
    error_of,
    wait_asked,
)

# What Replicate's answers about a token and a model mean for ``doctor``.


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


# What a model is asked, in Replicate's words.


LARGEST_DATA_URI = 256_000
"""Characters. Larger pictures are uploaded first and named by their address."""
USUAL_SIZE = "1K"
"""What every model makes when no size is named; some know no other and refuse the word."""


def model_input(request: GenerationRequest, upload: Callable[[Picture], str]) -> dict[str, Any]:
    """The prediction's input; what was not asked for is left to the model. ``upload`` gives a picture an address."""
    size = request.image_size if request.image_size != USUAL_SIZE else None
    wanted: dict[str, Any] = {
        "prompt": request.prompt,
        "image_input": [_data_uri(picture) or upload(picture) for picture in request.images],
        "aspect_ratio": request.aspect_ratio,
        "resolution": size,
        "output_format": "png",  # what is stored is made from it, so nothing may be lost before
    }
    return {name: value for name, value in wanted.items() if value}


def creation(model: str, model_input: Mapping[str, Any], webhook: str | None) -> tuple[str, dict[str, Any]]:
    """Path and body of the request that creates a prediction by ``owner/name`` or ``owner/name:version``.

    ``webhook`` is the address that Replicate is to tell when the prediction has ended, and only then.
    """
    told = {"webhook": webhook, "webhook_events_filter": ["completed"]} if webhook else {}
    name, _, version = model.partition(":")
    if version:
        return "/v1/predictions", {"version": version, "input": model_input, **told}
    return f"/v1/models/{name}/predictions", {"input": model_input, **told}


def _data_uri(picture: Picture) -> str | None:
    head = f"data:{picture.content_type};base64,"
    if len(head) + (len(picture.data) + 2) // 3 * 4 > LARGEST_DATA_URI:
        return None
    return head + base64.b64encode(picture.data).decode()


# Waiting for a prediction and fetching its picture: what is paid for is not given up because a request fails.


if TYPE_CHECKING:
    from generation_worker.ports import Control
    from generation_worker.providers.replicate_http import ReplicateHttp

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.5, 5.0, 1.25
"""Seconds between two tries, and by how much each pause is longer than the one before."""
LONGEST_WAIT = 30.0
"""Seconds that a look is put off at most, whatever a 429 says."""
TIMES_MISSING = 3
"""A file that was not there so often is gone; the first time it may only be late."""
GONE = frozenset({403, 404, 410})
FAREWELL = 3.0
"""Seconds for telling Replicate that nobody waits any more."""


class Pace(NamedTuple):
    """Seconds of the first pause and of the longest."""

    first: float
    longest: float

    @classmethod
    def of_looks(cls, longest: float, *, told: bool) -> Self:
        """Short at first, since most pictures are quick; unhurried if Replicate was asked to tell us of the end."""
        return cls(longest / 4 if told else min(FIRST_PAUSE, longest), longest)


USUAL = Pace(FIRST_PAUSE, LONGEST_PAUSE)


class Pauses:
    """Between tries: each longer than the one before, and as long as asked."""

    def __init__(self, control: Control, pace: Pace = USUAL) -> None:
        self._control = control
        self._next, self._longest = pace

    def take(self, answer: Answer | None = None, *, wake_on: str | None = None) -> None:
        """Raises as ``Control.pause`` does. Who is asked to wait, waits: no notice changes that."""
        if answer is not None and answer.status == 429:
            asked = wait_asked(answer, datetime.now(UTC)) or 0.0
            self._control.pause(max(self._next, min(asked, LONGEST_WAIT)))
        else:
            self._control.pause(self._next, wake_on=wake_on)
        self._next = min(self._next * GROWTH, self._longest)


def await_end(http: ReplicateHttp, begun: Prediction, control: Control, pace: Pace) -> Prediction:
    """The prediction when it has ended; cancelled at Replicate if the job is, or if its time is over.

    Raises CallLost, ProviderRefused, and what ``Control.pause`` raises.
    """
    now, looks, tries = begun, Pauses(control, pace), Pauses(control)
    try:
        if begun.running and begun.status != UNSEEN:
            looks.take(wake_on=begun.id)
        while now.running:
            answer = _look(http, begun.id, control)
            seen = _prediction_in(answer)
            now = seen or now
            if now.running:
                # A look that failed is made up for soon: the notice that it was to answer does not come again.
                (looks if seen else tries).take(answer, wake_on=begun.id)
    except (CancelRequested, AttemptTimedOut):
        _cancel(http, begun.id)
        raise
    return now


def download(http: ReplicateHttp, address: str, control: Control) -> bytes:
    """The file there. Raises CallLost if it is gone, OutputRejected, and what ``Control.pause`` raises."""
    pauses, missing = Pauses(control), 0
    while True:
        answer = _fetch(http, address, control)
        if answer and answer.status == 200 and answer.body:
            return answer.body
        missing += answer is not None and answer.status in GONE
        if missing == TIMES_MISSING:
            raise CallLost("Replicate has made the picture, but its file is gone.")
        pauses.take(answer)


def _look(http: ReplicateHttp, prediction_id: str, control: Control) -> Answer | None:
    try:
        return http.prediction(prediction_id, control)
    except NoAnswer:
        return None


def _prediction_in(answer: Answer | None) -> Prediction | None:
    """None if Replicate does not say how it stands: that is no reason to give it up."""
    if answer is None:
        return None
    if answer.status in (404, 410):
        raise CallLost(f"Replicate does not know the prediction any more ({answer.status}).")
    if answer.status in OPERATOR_MUST_ACT:
        raise error_of(answer, "", datetime.now(UTC))
    return Prediction.read(answer.json()) if answer.status == 200 else None


def _fetch(http: ReplicateHttp, address: str, control: Control) -> Answer | None:
    try:
        return http.download(address, control)
    except NoAnswer:
        return None


def _cancel(http: ReplicateHttp, prediction_id: str) -> None:
    """As well as it goes: what was begun may be charged anyway, and Cancel-After ends it if this does not arrive."""
    with suppress(NoAnswer, JobError):
        http.cancel(prediction_id, _Farewell())


class _Farewell:
    """What is left of an attempt that may not go on."""

    def check(self) -> None: ...

    def admit(self) -> None: ...

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None: ...

    def seconds_left(self) -> float:
        return FAREWELL

    def remember(self, provider_ref: str) -> None: ...


REPLICATE = "https://api.replicate.com"
SHORTEST_RUN, LONGEST_RUN = 5, 1800
"""Seconds: what Replicate takes as a limit, and what it allows a prediction anyway."""


class ReplicateProvider:
    """One token. Safe to use from many threads at once; ``threads`` is how many these may be.

    ``timeout`` is for one HTTP request, in seconds; a prediction may take as long as the attempt. ``longest_pause``, in
    seconds too, lies between two looks at it at most. ``webhook`` is the address that Replicate tells of its end.
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
            raise ValueError("the token must be printable ASCII without spaces around it")
        self.key_label = "replicate-" + hashlib.sha256(token.encode()).hexdigest()[:8]
        self.model = model
        self._http = ReplicateHttp(token=token, base_url=base_url or REPLICATE, timeout=timeout, threads=threads)
        self._webhook = webhook
        self._pace = Pace.of_looks(longest_pause, told=webhook is not None)

    def __repr__(self) -> str:
        return f"ReplicateProvider(key_label={self.key_label!r}, model={self.model!r})"

    def warm_up(self) -> None:
        """Load the HTTP client; no request is made."""
        self._http.warm_up()

    def close(self) -> None:
        """Close the connections. A call after this opens new ones."""
        self._http.close()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """One prediction, see the table above."""
        control.check()
        http = self._http
        resumed = request.resume is not None
        begun = Prediction(request.resume, UNSEEN) if request.resume else self._create(http, request, control)
        ended = await_end(http, begun, control, self._pace)
        address = ended.picture(resumed=resumed)
        data = decoded(address) if address[:5].lower() == "data:" else download(http, address, control)
        return Generated(data, ended.model or self.model, ended.id, ended.usage)

    def check(self, *, seconds: float) -> Verdict:
        """Look up whose token it is, and the model: two requests that cost nothing."""
        return examine(self._http, self.key_label, self.model, seconds=seconds)

    def _create(self, http: ReplicateHttp, request: GenerationRequest, control: Control) -> Prediction:
        asked = model_input(request, lambda picture: self._uploaded(http, picture, control))
        path, body = creation(self.model, asked, self._webhook)
        seconds = min(max(int(control.seconds_left()), SHORTEST_RUN), LONGEST_RUN)
        try:
            answer = http.create(path, body, seconds, control)
        except NoAnswer as silence:
            raise silence.to_paid_call("Replicate") from None
        if not 200 <= answer.status < 300:
            raise error_of(answer, self.model, datetime.now(UTC))
        begun = Prediction.read(answer.json())
        if begun is None:
            raise ProviderUnavailable("Replicate's answer to the request is no prediction.", spent=True)
        control.remember(begun.id)
        return begun

    def _uploaded(self, http: ReplicateHttp, picture: Picture, control: Control) -> str:
        """The address under which the model finds the picture. Nothing is paid for that."""
        name = f"input.{picture.content_type.rpartition('/')[2]}"
        try:
            answer = http.upload(name, picture, control)
        except NoAnswer as silence:
            raise ProviderUnavailable(f"An input could not be uploaded to Replicate ({silence}).") from None
        if not 200 <= answer.status < 300:
            error = error_of(answer, self.model, datetime.now(UTC))
            error.spent = False
            raise error
        address = object_in(object_in(answer.json()).get("urls")).get("get")
        if not isinstance(address, str):
            raise ProviderUnavailable("Replicate took an input and does not say where it is.")
        return address


# Reads the webhooks that Replicate sends when a prediction ends. They are hints, and nothing more.
#
# Replicate signs as Standard Webhooks says: ``webhook-id`` (the same when one is sent again), ``webhook-timestamp``, in
# seconds, and ``webhook-signature`` over both and the body, with the account's secret. The body is the prediction, of
# which only the id is read: how it stands is asked of Replicate itself.


class _Told(BaseModel):
    """What is read of the body. Nesting beyond 200 levels, wherever it is, makes it unreadable."""

    id: Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]


class ReplicateWebhook:
    """Verifies with any of ``secrets``, so that they can be exchanged without a gap. Safe to use from many threads."""

    most_bytes = 8_000_000
    """The prediction comes with its inputs, up to fourteen pictures as data: URIs."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The notice in a request with these headers, in lower case. Raises NoticeRefused, SignatureInvalid first.

        A webhook is refused when it was signed more than five minutes ago, or from now.
        """
        if not any(_is_signed(secret, headers, body) for secret in self._secrets):
            raise SignatureInvalid("The signature does not fit, or is not of these five minutes.")
        try:
            return Notice.of(_Told.model_validate_json(body).id, headers["webhook-id"])
        except ValidationError:
            pass
        raise NoticeRefused("The body is no prediction with an id.")


def _is_signed(secret: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter for a body or a signature that cannot even be decoded
        return False
    return True

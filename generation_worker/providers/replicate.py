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

import hashlib
from datetime import UTC, datetime

from generation_worker.domain.errors import ProviderUnavailable
from generation_worker.domain.finding import Verdict
from generation_worker.ports import Control, Generated, GenerationRequest, Picture
from generation_worker.providers import replicate_check
from generation_worker.providers.http_answers import NoAnswer
from generation_worker.providers.loose_json import object_in
from generation_worker.providers.replicate_answers import UNSEEN, Prediction, decoded
from generation_worker.providers.replicate_errors import error_of
from generation_worker.providers.replicate_http import ReplicateHttp
from generation_worker.providers.replicate_input import creation, model_input
from generation_worker.providers.replicate_wait import LONGEST_PAUSE, Pace, await_end, download

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
        return replicate_check.examine(self._http, self.key_label, self.model, seconds=seconds)

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

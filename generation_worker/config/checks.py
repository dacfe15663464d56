"""Rules between the settings: values that do not fit together, and values that are right but doubtful."""

from collections.abc import Iterator

from generation_worker.config.database import parse_database_url
from generation_worker.config.kinds import ConfigurationError, format_duration
from generation_worker.config.settings import OTLP_HTTP, Settings, declarations

_S3 = ("s3_bucket", "aws_access_key_id", "aws_secret_access_key")
_R2 = ("r2_bucket", "r2_account_id", "r2_access_key_id", "r2_secret_access_key")
_WEBHOOK = ("replicate_webhook_secrets", "replicate_webhook_url")

_BYTES_PER_PIXEL = 8
"""An image and its converted copy, four bytes each."""

_GEMINI_PREFIXES = ("gemini-1.", "gemini-2.", "gemini-3.1-flash-image", "imagen-")


def problems_of(settings: Settings) -> list[str]:
    """One line for each fault, naming every variable that is part of it."""
    return [
        *_address_problems(settings),
        *_webhook_problems(settings),
        *_storage_problems(settings),
        *_number_problems(settings),
    ]


def notices_of(settings: Settings) -> list[str]:
    """One line for each setting that is right but doubtful."""
    return [
        *_database_notices(settings),
        *_model_notices(settings),
        *_storage_notices(settings),
        *_input_notices(settings),
        *_time_notices(settings),
        *_trace_notices(settings),
    ]


def unreadable_addresses(settings: Settings) -> dict[str, list[str]]:
    """The fields that hold no address of a database, and what is wrong with each."""
    faults: dict[str, list[str]] = {}
    for field in ("database_url", "direct_url"):
        url = getattr(settings, field)
        try:
            if url is not None:
                parse_database_url(url.get_secret_value(), declarations()[field].name)
        except ConfigurationError as error:
            faults[field] = error.problems
    return faults


def _address_problems(settings: Settings) -> Iterator[str]:
    for problems in unreadable_addresses(settings).values():
        yield from problems


def _webhook_problems(settings: Settings) -> Iterator[str]:
    if settings.is_set(*_WEBHOOK):
        yield from _missing_parts(settings, "Replicate's webhook", _WEBHOOK)


def _storage_problems(settings: Settings) -> Iterator[str]:
    if settings.is_set("s3_bucket") and settings.is_set("r2_bucket"):
        yield "S3_BUCKET and R2_BUCKET are both set: images go to one place, so remove one of them"
    # Keys of AWS may be there for something else, so they need a bucket only if nothing else is chosen.
    elsewhere = settings.is_set("r2_bucket", "storage_dir")
    if settings.is_set("s3_bucket") or (settings.is_set(*_S3, "s3_endpoint_url") and not elsewhere):
        yield from _missing_parts(settings, "S3", _S3)
    if settings.is_set(*_R2, "r2_public_url"):
        yield from _missing_parts(settings, "R2", _R2)


def _missing_parts(settings: Settings, title: str, fields: tuple[str, ...]) -> Iterator[str]:
    missing = [declarations()[field].name for field in fields if not settings.is_set(field)]
    if missing:
        yield f"{', '.join(missing)} missing: other settings of {title} are set, so set all of them or none"


def _number_problems(settings: Settings) -> Iterator[str]:
    if settings.retry_max_delay < settings.retry_initial_delay:
        yield _too_short(settings, "retry_max_delay", "retry_initial_delay")
    if settings.idle_poll_interval < settings.poll_interval:
        yield _too_short(settings, "idle_poll_interval", "poll_interval")
    if settings.max_stuck_threads > settings.concurrency:
        yield (
            f"MAX_STUCK_THREADS ({settings.max_stuck_threads}) would never be reached: "
            f"lower it to {_name(settings, 'concurrency')} ({settings.concurrency}) or below"
        )
    needed = settings.image_max_pixels * _BYTES_PER_PIXEL // 2**20
    if settings.image_memory_mb < needed:
        yield (
            f"IMAGE_MEMORY_MB ({settings.image_memory_mb}) is too little for IMAGE_MAX_PIXELS "
            f"({settings.image_max_pixels}): raise it to {needed} at least, or allow fewer pixels"
        )


def _too_short(settings: Settings, longer: str, shorter: str) -> str:
    long, short = (format_duration(getattr(settings, field)) for field in (longer, shorter))
    return (
        f"{_name(settings, longer)} ({long}) is shorter than {_name(settings, shorter)} ({short}): "
        f"raise the first or lower the second"
    )


def _name(settings: Settings, field: str) -> str:
    """The variable as the user knows it."""
    return settings.origins[field].name if field in settings.origins else declarations()[field].name


def _database_notices(settings: Settings) -> Iterator[str]:
    addresses = settings.database_addresses()
    for address in addresses.values():
        yield from address.notices
    direct = addresses.get("DIRECT_URL")
    if direct is not None and direct.pooled:
        yield "DIRECT_URL is the address of a pooler: give the one without it, for migrations and LISTEN"
    elif addresses and settings.direct_database() is None:
        yield (
            "DATABASE_URL is the address of a pooler and DIRECT_URL is not set: new jobs are found by polling "
            "alone, and migrations go through the pooler"
        )


def _model_notices(settings: Settings) -> Iterator[str]:
    if _is_retired_model(settings.gemini_model):
        newer = type(settings).model_fields["gemini_model"].default
        name = _name(settings, "gemini_model")
        yield f"{name} is {settings.gemini_model}, which Google has retired for images: use {newer}"


def _storage_notices(settings: Settings) -> Iterator[str]:
    if settings.storage == "disk" and not settings.is_set("storage_dir"):
        yield (
            "neither S3_BUCKET, R2_BUCKET nor STORAGE_DIR is set: images are kept on this machine's disk, in "
            f"{settings.storage_dir}/, which most hosts clear with each deploy"
        )
    elif settings.storage != "disk" and settings.is_set("storage_dir"):
        yield f"STORAGE_DIR is not used: images go to {settings.storage.upper()}"


def _input_notices(settings: Settings) -> Iterator[str]:
    if settings.fetch_allow_private:
        yield (
            "FETCH_ALLOW_PRIVATE is on: everybody who enqueues jobs can make this worker send requests to every host "
            "that it reaches, private ones and a cloud's metadata too; turn it off if others than you enqueue"
        )


def _time_notices(settings: Settings) -> Iterator[str]:
    if settings.lease_duration > settings.job_timeout:
        lease, timeout = format_duration(settings.lease_duration), format_duration(settings.job_timeout)
        yield (
            f"LEASE_DURATION ({lease}) is longer than WORKER_JOB_TIMEOUT ({timeout}): "
            f"after a crash a job waits longer for its next attempt than the attempt may take"
        )


def _trace_notices(settings: Settings) -> Iterator[str]:
    exporter, protocol = settings.otel_traces_exporter, settings.otel_protocol
    if settings.asks_for_traces and protocol != OTLP_HTTP:
        yield (
            f"OTEL_EXPORTER_OTLP_PROTOCOL: only {OTLP_HTTP} is supported, not {protocol!r}, so no traces are sent: "
            "set it to that, and the address to the collector's port for HTTP, most often 4318"
        )
    elif exporter not in (None, "none") and not (settings.asks_for_traces or settings.otel_sdk_disabled):
        yield f"OTEL_TRACES_EXPORTER: only otlp and none are supported, not {exporter!r}, so no traces are sent"


def _is_retired_model(model: str) -> bool:
    """Whether Google has retired ``model``, or announced it, or whether it never made images."""
    name = model.removeprefix("models/")
    return name.startswith(_GEMINI_PREFIXES) or name.endswith("-preview")

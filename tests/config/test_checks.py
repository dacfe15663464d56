"""Settings against each other: what is refused, and what is only pointed out."""

import pytest

from generation_worker.config import ConfigurationError, load_settings

S3 = {"S3_BUCKET": "images", "AWS_ACCESS_KEY_ID": "AKIA123", "AWS_SECRET_ACCESS_KEY": "s3-secret"}
R2 = {"R2_BUCKET": "images", "R2_ACCOUNT_ID": "abc", "R2_ACCESS_KEY_ID": "r2-key", "R2_SECRET_ACCESS_KEY": "r2-secret"}
HOOK = {
    "REPLICATE_WEBHOOK_SECRET": "whsec_bm9ib2R5J3MgYnV0IG91cnM=",
    "REPLICATE_WEBHOOK_URL": "https://worker.example.com",
}
DIRECT = "postgresql://app:pw-secret@ep-x.eu.aws.neon.tech/db"
POOLED = "postgresql://app:pw-secret@ep-x-pooler.eu.aws.neon.tech/db"


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (S3 | R2, "S3_BUCKET and R2_BUCKET are both set"),
        (without(S3, "S3_BUCKET"), "S3_BUCKET missing"),
        (without(S3, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY missing"),
        ({"S3_ENDPOINT_URL": "http://localhost:9000"}, "S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY missing"),
        (without(R2, "R2_BUCKET"), "R2_BUCKET missing"),
        (without(R2, "R2_ACCOUNT_ID"), "R2_ACCOUNT_ID missing"),
        (S3 | without(R2, "R2_BUCKET"), "R2_BUCKET missing"),
        ({"R2_PUBLIC_URL": "https://images.example.com"}, "R2_BUCKET, R2_ACCOUNT_ID, R2_ACCESS_KEY_ID"),
        (without(HOOK, "REPLICATE_WEBHOOK_SECRET"), "REPLICATE_WEBHOOK_SECRET missing: other settings of Replicate's"),
        (without(HOOK, "REPLICATE_WEBHOOK_URL"), "REPLICATE_WEBHOOK_URL missing: other settings of Replicate's"),
        ({"RETRY_MAX_DELAY": "1s"}, "RETRY_MAX_DELAY (1s) is shorter than RETRY_INITIAL_DELAY (5s)"),
        (
            {"RETRY_MAX_DELAY": "1s", "WORKER_RETRY_DELAY": "30s"},
            "RETRY_MAX_DELAY (1s) is shorter than WORKER_RETRY_DELAY (30s)",
        ),
        ({"IDLE_POLL_INTERVAL": "500ms"}, "IDLE_POLL_INTERVAL (500ms) is shorter than POLL_INTERVAL_MS (1s)"),
        (
            {"MAX_STUCK_THREADS": "6"},
            "MAX_STUCK_THREADS (6) would never be reached: lower it to WORKER_CONCURRENCY",
        ),
        ({"IMAGE_MAX_PIXELS": "500000000"}, "IMAGE_MEMORY_MB (1024) is too little for IMAGE_MAX_PIXELS"),
    ],
)
def test_refuses_what_does_not_fit(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    (only,) = caught.value.problems
    assert only.startswith(problem)


@pytest.mark.parametrize(
    ("environ", "storage"),
    [
        (S3, "s3"),
        (R2, "r2"),
        ({}, "disk"),
        # Keys of AWS that are there for something else.
        (without(S3, "S3_BUCKET") | R2, "r2"),
        (without(S3, "S3_BUCKET") | {"STORAGE_DIR": "images"}, "disk"),
    ],
)
def test_where_images_go(environ: dict[str, str], storage: str) -> None:
    assert load_settings(environ).storage == storage


@pytest.mark.parametrize(
    "address",
    ["https://worker.example.com", "https://x/prefix/", "http://localhost:8080", "http://127.1.2.3", "http://[::1]:80"],
)
def test_replicate_reaches_us_encrypted_or_on_this_machine(address: str) -> None:
    assert load_settings(HOOK | {"REPLICATE_WEBHOOK_URL": address}).replicate_webhook_url == address.rstrip("/")


@pytest.mark.parametrize(
    "address",
    ["http://worker.example.com", "https://x/?a=1", "https://x/#a", "https://x?", "worker.example.com", "https:"],
)
def test_what_replicate_cannot_use_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(HOOK | {"REPLICATE_WEBHOOK_URL": address})
    (problem,) = caught.value.problems
    assert problem.startswith("REPLICATE_WEBHOOK_URL must be an")


@pytest.mark.parametrize(
    "secret", ["bm9ib2R5J3MgYnV0IG91cnM=", "whsec_", "whsec_bm9ib2R5", "whsec_%%%%", "whsk_bm9i", ","]
)
@pytest.mark.parametrize("before", ["", HOOK["REPLICATE_WEBHOOK_SECRET"] + ",whsec_,"])
def test_a_webhook_secret_is_checked_before_it_is_needed(secret: str, before: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(HOOK | {"REPLICATE_WEBHOOK_SECRET": before + secret})
    (problem,) = caught.value.problems
    assert problem == (
        "REPLICATE_WEBHOOK_SECRET must be a webhook's signing secret, whsec_ and base64: copy all of it again"
    )


def test_who_is_told_by_replicate_looks_less_often() -> None:
    assert load_settings({}).replicate_poll_interval == 5
    assert load_settings(HOOK).replicate_poll_interval == 20
    assert load_settings(HOOK | {"REPLICATE_POLL_INTERVAL": "2s"}).replicate_poll_interval == 2


def test_a_key_that_is_wrong_is_not_missing_as_well() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(S3 | {"AWS_SECRET_ACCESS_KEY": "two words"})
    assert [problem.split()[0] for problem in caught.value.problems] == ["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.parametrize(
    ("environ", "notice"),
    [
        ({"REDIS_URL": "rediss://default:pw-secret@host"}, "REDIS_URL is set but no longer needed: "),
        ({"SUPABASE_URL": "https://x.supabase.co"}, "SUPABASE_URL is set but no longer needed: "),
        ({"SUPABASE_SERVICE_ROLE_KEY": "pw-secret"}, "SUPABASE_SERVICE_ROLE_KEY is set but no longer needed: "),
        ({"GEMINI_MAX_RETRIES": "3"}, "GEMINI_MAX_RETRIES is set but no longer needed: "),
        ({"WORKER_CONCURENCY": "3"}, "WORKER_CONCURENCY is not a setting and is ignored: is WORKER_CONCURRENCY meant?"),
        ({"GEMINI_API_KEYS": "pw-secret"}, "GEMINI_API_KEYS is not a setting and is ignored"),
        ({"GEMINI_MODEL": "gemini-1.5-pro"}, "GEMINI_MODEL is gemini-1.5-pro, which Google has retired"),
        ({"GEMINI_MODEL_NAME": "gemini-2.5-flash-image"}, "GEMINI_MODEL_NAME is gemini-2.5-flash-image, which"),
        ({"GEMINI_MODEL": "gemini-3.1-flash-image"}, "GEMINI_MODEL is gemini-3.1-flash-image, which"),
        ({}, "neither S3_BUCKET, R2_BUCKET nor STORAGE_DIR is set"),
        (R2 | {"STORAGE_DIR": "images"}, "STORAGE_DIR is not used: images go to R2"),
        ({"FETCH_ALLOW_PRIVATE": "true"}, "FETCH_ALLOW_PRIVATE is on: everybody who enqueues"),
        ({"WORKER_JOB_TIMEOUT": "30s"}, "LEASE_DURATION (1m) is longer than WORKER_JOB_TIMEOUT (30s)"),
        ({"DATABASE_URL": POOLED}, "DATABASE_URL is the address of a pooler and DIRECT_URL is not set"),
        ({"DATABASE_URL": POOLED, "DIRECT_URL": POOLED}, "DIRECT_URL is the address of a pooler"),
        ({"DATABASE_URL": f"{DIRECT}?socket_timeout=5"}, "DATABASE_URL has the parameter socket_timeout, which libpq"),
    ],
)
def test_points_out(environ: dict[str, str], notice: str) -> None:
    notices = load_settings(environ).notices
    assert [one for one in notices if one.startswith(notice)], notices
    assert "pw-secret" not in "".join(notices)


@pytest.mark.parametrize("model", ["gemini-nano-banana-2.1", "gemini-3.1-flash-lite-image", "gemini-3-pro-image"])
def test_says_nothing_when_there_is_nothing_to_say(model: str) -> None:
    environ = {"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT, "GEMINI_MODEL": model, "HOME": "/root", "AWS_PROFILE": "x"}
    assert load_settings(R2 | environ).notices == []


@pytest.mark.parametrize(
    ("environ", "direct"),
    [
        ({}, None),
        ({"DATABASE_URL": DIRECT}, "db at ep-x.eu.aws.neon.tech:5432"),
        ({"DATABASE_URL": POOLED}, None),
        ({"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT}, "db at ep-x.eu.aws.neon.tech:5432"),
        ({"DATABASE_URL": DIRECT, "DIRECT_URL": POOLED}, "db at ep-x.eu.aws.neon.tech:5432"),
        ({"DATABASE_URL": DIRECT, "DIRECT_URL": "postgresql:///other"}, "other at the default socket:5432"),
    ],
)
def test_the_direct_address(environ: dict[str, str], direct: str | None) -> None:
    address = load_settings(environ).direct_database()
    assert (address.label if address else None) == direct


def test_the_database_is_asked_for_only_when_it_is_needed() -> None:
    assert load_settings({"DATABASE_URL": POOLED}).require_database().pooled
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL is not set: give the address"):
        load_settings({}).require_database()

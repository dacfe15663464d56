from pathlib import Path

import pytest

from generation_worker.config import ConfigurationError, Settings, examine_settings, load_settings

ENVIRONMENT = {
    "WORKER_CONCURRENCY": ("8", "concurrency", 8),
    "WORKER_MAX_WORKERS": ("8", "concurrency", 8),
    "WORKER_ID": ("railway-1", "worker_id", "railway-1"),
    "POLL_INTERVAL_MS": ("250", "poll_interval", 0.25),
    "WORKER_POLL_INTERVAL": ("5s", "poll_interval", 5.0),
    "IDLE_POLL_INTERVAL": ("6m", "idle_poll_interval", 360.0),
    "LISTEN_NOTIFY": ("false", "listen_notify", False),
    "WORKER_JOB_TIMEOUT": ("300s", "job_timeout", 300.0),
    "LEASE_DURATION": ("90s", "lease_duration", 90.0),
    "SHUTDOWN_GRACE": ("25", "shutdown_grace", 25.0),
    "MAX_STUCK_THREADS": ("3", "max_stuck_threads", 3),
    "WORKER_CLEANUP_INTERVAL": ("30m", "cleanup_interval", 1800.0),
    "RETENTION": ("30d", "retention", 30 * 86_400.0),
    "WORKER_MAX_RETRIES": ("0", "max_retries", 0),
    "RETRY_MAX_RETRIES": ("5", "max_retries", 5),
    "RETRY_INITIAL_DELAY": ("500ms", "retry_initial_delay", 0.5),
    "WORKER_RETRY_DELAY": ("30s", "retry_initial_delay", 30.0),
    "RETRY_MAX_DELAY": ("10m", "retry_max_delay", 600.0),
    "RETRY_BACKOFF_FACTOR": ("1.5", "retry_backoff_factor", 1.5),
    "RETRY_JITTER": ("FALSE", "retry_jitter", False),
    "MAX_CRASHES": ("1", "max_crashes", 1),
    "MAX_RATE_LIMIT_WAITS": ("7", "max_rate_limit_waits", 7),
    "MAX_PAID_CALLS": ("1", "max_paid_calls", 1),
    "PORT": ("3000", "port", 3000),
    "WORKER_HEALTH_CHECK_PORT": ("8081", "port", 8081),
    "HEALTH_HOST": ("127.0.0.1", "health_host", "127.0.0.1"),
    "WORKER_ENABLE_HEALTH_CHECK": ("0", "enable_health_check", False),
    "WORKER_ENABLE_METRICS": ("no", "enable_metrics", False),
    "ENABLE_DASHBOARD": ("false", "enable_dashboard", False),
    "ENABLE_BULL_BOARD": ("false", "enable_dashboard", False),
    "MAX_JOBS_PER_MINUTE": ("10", "max_jobs_per_minute", 10),
    "GEMINI_RPM": ("1000", "gemini_rpm", 1000),
    "GEMINI_MODEL": ("gemini-3-pro-image", "gemini_model", "gemini-3-pro-image"),
    "GEMINI_MODEL_NAME": ("gemini-3-pro-image", "gemini_model", "gemini-3-pro-image"),
    "GEMINI_BASE_URL": ("https://example.com/", "gemini_base_url", "https://example.com"),
    "GEMINI_TIMEOUT": ("60", "gemini_timeout", 60.0),
    "GEMINI_API_VERSION": ("v1", "gemini_api_version", "v1"),
    "REPLICATE_RPM": ("600", "replicate_rpm", 600),
    "REPLICATE_MODEL": ("owner/name:0a1b", "replicate_model", "owner/name:0a1b"),
    "REPLICATE_TIMEOUT": ("20s", "replicate_timeout", 20.0),
    "LOCAL_PROVIDER": ("false", "local_provider", False),
    "LOCAL_DELAY": ("2s", "local_delay", 2.0),
    "LOCAL_FAULTS": ("429:3", "local_faults", "429:3"),
    "AWS_REGION": ("eu-west-1", "aws_region", "eu-west-1"),
    "STORAGE_DIR": ("/data", "storage_dir", Path("/data")),
    "IMAGE_CHILDREN": ("2", "image_children", 2),
    "IMAGE_MAX_PIXELS": ("1000000", "image_max_pixels", 1_000_000),
    "IMAGE_MEMORY_MB": ("2048", "image_memory_mb", 2048),
    "IMAGE_TIMEOUT": ("10s", "image_timeout", 10.0),
    "LOG_LEVEL": ("DEBUG", "log_level", "debug"),
    "LOG_FORMAT": ("json", "log_format", "json"),
    "OTEL_TRACES_EXPORTER": ("otlp", "otel_traces_exporter", "otlp"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://collector:4318/", "otel_endpoint", "http://collector:4318"),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ("http://c:4318/x", "otel_traces_endpoint", "http://c:4318/x"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("grpc", "otel_protocol", "grpc"),
    "OTEL_SERVICE_NAME": ("images", "otel_service_name", "images"),
    "OTEL_SDK_DISABLED": ("true", "otel_sdk_disabled", True),
}


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    return caught.value.problems


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_reads(name: str) -> None:
    text, field, value = ENVIRONMENT[name]
    assert getattr(load_settings({name: text}), field) == value


def test_every_setting_has_a_default() -> None:
    settings = load_settings({})
    assert settings.concurrency == 5
    assert settings.max_attempts == 4
    assert settings.poll_interval == 1.0
    assert settings.gemini_model == "gemini-nano-banana-2.1"
    assert settings.retention == 90 * 86_400
    assert settings.worker_id != load_settings({}).worker_id


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"MAX_JOBS_PER_MINUTE": "10"}, "gemini_rpm", 10),
        ({"MAX_JOBS_PER_MINUTE": "10"}, "replicate_rpm", 10),
        ({"WORKER_CONCURRENCY": "1"}, "max_stuck_threads", 1),
        ({"WORKER_CONCURRENCY": "9"}, "max_stuck_threads", 4),
        ({"WORKER_POLL_INTERVAL": "30s"}, "idle_poll_interval", 30.0),
        ({"WORKER_RETRY_DELAY": "10m"}, "retry_max_delay", 600.0),
    ],
)
def test_a_default_follows_another_setting(environ: dict[str, str], field: str, value: object) -> None:
    assert getattr(load_settings(environ), field) == value


@pytest.mark.parametrize("empty", ["", "  ", '""', "''"])
def test_empty_counts_as_not_set(empty: str) -> None:
    settings = load_settings({"WORKER_CONCURRENCY": empty, "WORKER_MAX_WORKERS": "7", "S3_BUCKET": empty})
    assert settings.concurrency == 7
    assert settings.s3_bucket is None


def test_quotes_that_docker_leaves_are_taken_away() -> None:
    assert load_settings({"WORKER_CONCURRENCY": '"6"', "WORKER_ID": "'w1'"}).worker_id == "w1"


def test_several_gemini_keys() -> None:
    keys = load_settings({"GEMINI_API_KEY": "key-a, key-b,,key-a"}).gemini_api_keys
    assert [key.get_secret_value() for key in keys] == ["key-a", "key-b"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("WORKER_CONCURRENCY", "0", "must be a whole number, from 1 to 1000, not '0'"),
        ("WORKER_CONCURRENCY", "1001", "must be a whole number, from 1 to 1000"),
        ("WORKER_MAX_WORKERS", "many", "must be a whole number, from 1 to 1000, not 'many'"),
        ("LEASE_DURATION", "500ms", "must be a duration such as 500ms, 30s, 5m or 1h, from 1s to 1h, not '500ms'"),
        ("WORKER_JOB_TIMEOUT", "5 minutes", "must be a duration"),
        ("RETENTION", "90", "must be 0 (keep for ever) or at least 1h, such as 90d"),
        ("RETRY_BACKOFF_FACTOR", "nan", "must be a number, from 1 to 100"),
        ("RETRY_JITTER", "maybe", "must be true or false"),
        ("PORT", "70000", "must be a whole number, from 0 to 65535"),
        ("LOG_FORMAT", "xml", "must be auto, json or console"),
        ("GEMINI_BASE_URL", "generativelanguage.googleapis.com", "must be an address such as https://example.com"),
        ("GEMINI_BASE_URL", "https://user:secret@example.com", "must be an address such as https://example.com"),
        ("GEMINI_API_KEY", "two words", "must be printable ASCII without spaces"),
        ("GEMINI_API_VERSION", "../v1", "must be an API version"),
        ("REPLICATE_MODEL", "nano-banana", "must be a model as owner/name"),
        ("AWS_REGION", "Frankfurt am Main", "must be a region"),
        ("WORKER_ID", "two words", "must be 1 to 100 printable ASCII characters"),
    ],
)
def test_refuses_by_name_with_a_remedy(name: str, text: str, problem: str) -> None:
    assert [one for one in problems_of({name: text}) if one.startswith(f"{name} {problem}")]


def test_everything_wrong_is_said_at_once() -> None:
    problems = problems_of(
        {
            "WORKER_CONCURRENCY": "0",
            "WORKER_POLL_INTERVAL": "often",
            "PORT": "80",
            "WORKER_HEALTH_CHECK_PORT": "81",
            "DATABASE_URL": "mysql://localhost",
            "R2_BUCKET": "images",
            "RETRY_INITIAL_DELAY": "1h",
            "RETRY_MAX_DELAY": "1m",
        }
    )
    named = ["WORKER_CONCURRENCY", "WORKER_POLL_INTERVAL", "PORT", "DATABASE_URL", "R2_ACCOUNT_ID", "RETRY_MAX_DELAY"]
    assert sorted(problem.split()[0].strip(",") for problem in problems) == sorted(named)
    assert str(ConfigurationError(problems)) == "\n".join(problems)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("WORKER_CONCURRENCY", "5"), ("WORKER_MAX_WORKERS", "6")),
        (("POLL_INTERVAL_MS", "30"), ("WORKER_POLL_INTERVAL", "30")),
        (("WORKER_MAX_RETRIES", "3"), ("RETRY_MAX_RETRIES", "4")),
        (("RETRY_INITIAL_DELAY", "5s"), ("WORKER_RETRY_DELAY", "30s")),
        (("PORT", "8080"), ("WORKER_HEALTH_CHECK_PORT", "8081")),
        (("ENABLE_DASHBOARD", "true"), ("ENABLE_BULL_BOARD", "false")),
        (("GEMINI_MODEL", "gemini-3-pro-image"), ("GEMINI_MODEL_NAME", "gemini-nano-banana-2.1")),
    ],
)
def test_two_names_that_disagree_are_both_named(one: tuple[str, str], other: tuple[str, str]) -> None:
    (problem,) = problems_of(dict([one, other]))
    assert problem.startswith(f"{one[0]} and {other[0]} are two names of one setting and disagree")


@pytest.mark.parametrize(
    "environ",
    [
        {"WORKER_CONCURRENCY": "6", "WORKER_MAX_WORKERS": "6"},
        {"POLL_INTERVAL_MS": "5000", "WORKER_POLL_INTERVAL": "5s"},
        {"POLL_INTERVAL_MS": "60000", "WORKER_POLL_INTERVAL": "1m"},
        {"ENABLE_DASHBOARD": "true", "ENABLE_BULL_BOARD": "1"},
    ],
)
def test_two_names_that_mean_the_same_are_fine(environ: dict[str, str]) -> None:
    load_settings(environ)


def test_overrides_win_and_none_is_not_given() -> None:
    settings = load_settings({"WORKER_CONCURRENCY": "3", "PORT": "81"}, concurrency=12, port=None)
    assert (settings.concurrency, settings.port) == (12, 81)
    with pytest.raises(ConfigurationError, match=r"WORKER_CONCURRENCY must be a whole number, from 1 to 1000, not '0'"):
        load_settings({}, concurrency=0)
    with pytest.raises(TypeError, match="concurency"):
        load_settings({}, concurency=1)


def test_settings_cannot_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).concurrency = 6  # pyright: ignore[reportAttributeAccessIssue]


def test_making_settings_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("concurrency", "17")
    monkeypatch.setenv("CONCURRENCY", "17")
    assert Settings().concurrency == 5


def test_env_file_stands_behind_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text('# ours\nexport WORKER_CONCURRENCY="3"\nPORT=81\nMAX_CRASHES=\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_MAX_WORKERS", "9")
    settings = load_settings()
    assert (settings.concurrency, settings.port, settings.max_crashes) == (9, 81, 3)
    assert settings.origins["port"].layer == ".env"


def test_env_file_is_left_alone_when_the_environment_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=81\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).port == 8080


def test_env_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"^\.env cannot be read"):
        load_settings()


def test_whoever_looks_at_everything_gets_what_is_right_and_every_fault() -> None:
    settings, problems = examine_settings(
        {"PORT": "many", "WORKER_CONCURRENCY": "7", "DATABASE_URL": "not an address", "DIRECT_URL": "postgresql://h/d"}
    )
    assert (settings.concurrency, settings.port) == (7, 8080)
    assert list(settings.database_addresses()) == ["DIRECT_URL"]
    assert settings.secret_values() == ["postgresql://h/d"]
    assert [problem.split()[0] for problem in problems] == ["PORT", "DATABASE_URL"]


def test_a_file_that_cannot_be_read_does_not_hide_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    monkeypatch.setenv("WORKER_CONCURRENCY", "9")
    settings, [problem] = examine_settings()
    assert settings.concurrency == 9
    assert problem.startswith(".env cannot be read")

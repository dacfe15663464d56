"""A value for every setting that holds a secret."""

from __future__ import annotations

from tests.canaries import values as v

CANARIES: dict[str, tuple[str, ...]] = {
    "DATABASE_URL": (v.PASSWORD,),
    "DIRECT_URL": (v.PASSWORD,),
    "GEMINI_API_KEY": (v.GEMINI_KEY, *v.GEMINI_KEYS),
    "REPLICATE_API_TOKEN": (v.REPLICATE_TOKEN,),
    "REPLICATE_WEBHOOK_SECRET": (v.REPLICATE_WEBHOOK, v.REPLICATE_WEBHOOK_NEXT),
    "AWS_ACCESS_KEY_ID": (v.S3_KEY_ID, v.S3_READER_ID),
    "AWS_SECRET_ACCESS_KEY": (v.S3_SECRET, v.S3_READER_SECRET),
    "R2_ACCESS_KEY_ID": (v.S3_KEY_ID,),
    "R2_SECRET_ACCESS_KEY": (v.R2_SECRET,),
    "OTEL_EXPORTER_OTLP_HEADERS": (f"authorization=Bearer {v.COLLECTOR}",),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": (f"authorization=Bearer {v.COLLECTOR}",),
    "SUPABASE_SERVICE_ROLE_KEY": (v.RETIRED,),
}
"""By the setting's name; the last is read only to say that it is no longer needed."""

"""What earlier systems needed and this one does not: read, reported, otherwise ignored."""

from __future__ import annotations

VARIABLES = {
    "REDIS_URL": "the queue is a table of the database",
    "SUPABASE_URL": "the database is reached through DATABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY": "the database is reached through DATABASE_URL, so this key is better withdrawn",
    "GEMINI_MAX_RETRIES": "the job's own retries replace it, see WORKER_MAX_RETRIES",
}
"""Variable → what took its place."""

_GEMINI_PREFIXES = ("gemini-1.", "gemini-2.", "gemini-3.1-flash-image", "imagen-")


def is_retired_model(model: str) -> bool:
    """Whether Google has retired ``model``, or announced it, or whether it never made images."""
    name = model.removeprefix("models/")
    return name.startswith(_GEMINI_PREFIXES) or name.endswith("-preview")

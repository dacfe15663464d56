"""What Google's answer about a key and a model means for ``doctor``."""

from __future__ import annotations

from typing import NamedTuple

from generation_worker.domain.errors import JobError, ProviderLimited, ProviderRefused, ProviderRejected
from generation_worker.domain.finding import Verdict, fault, ok, warning

NEEDED = "generateContent"
"""How we ask for an image; a model that cannot be asked so is of another kind."""
KEY = (
    "Make a key at https://aistudio.google.com/apikey and put it into GEMINI_API_KEY. For a key that is right: is the "
    "Generative Language API on in its project, is billing set up, do its restrictions let this machine through?"
)
MODEL = (
    "Set GEMINI_MODEL to one that Google still serves, see https://ai.google.dev/gemini-api/docs/models, or remove it "
    "for the default; also look whether GEMINI_API_VERSION has it, and whether GEMINI_BASE_URL leads to Google's API"
)
ADDRESS = "Remove GEMINI_BASE_URL, or set it to an address that speaks Gemini's API"
NETWORK = "Can this machine reach GEMINI_BASE_URL, and the proxy in HTTPS_PROXY if there is one?"
LATER = "Wait, or raise the limit in AI Studio; jobs wait by themselves"


class Known(NamedTuple):
    """What Google says of a model; a name that is empty means that it was not Google who answered."""

    name: str
    display_name: str
    methods: tuple[str, ...]


def judge(found: Known, key_label: str, model: str) -> Verdict:
    if not found.name:
        return fault(f"{key_label}: what answered for {model} is not Gemini's API", ADDRESS)
    if found.methods and NEEDED not in found.methods:
        return fault(f"{key_label}: {model} does not make images on request ({', '.join(found.methods)[:200]})", MODEL)
    also = f" ({found.display_name[:100]})" if found.display_name else ""
    return ok(f"{key_label}: the key is accepted, {model}{also} is there")


def refused(error: JobError, key_label: str) -> Verdict:
    said = f"{key_label}: {error.message}"
    match error:
        case ProviderLimited():
            return warning(said, LATER)
        case ProviderRefused():
            return fault(said, KEY)
        case ProviderRejected():
            return fault(said, MODEL)
        case _:
            return fault(said, NETWORK)

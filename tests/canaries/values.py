"""The secrets that all tests use. Each holds MARK, so that one look finds any of them wherever it has got to.

A test that needs a secret of its own, because it is about what becomes of one, makes it without MARK.
"""

from __future__ import annotations

MARK = "canary7Zq9"
"""In every secret. Of letters and digits, so no quoting changes it, and base64 takes it as it is."""
PUBLIC_MARK = "keyid7Zq9"
"""In the ids of keys, which stand in the links that they have signed, and nowhere else."""

WISH = "a red kite over the sea and the hills"
"""What most jobs of the tests ask for. People's words stand in no log and in no metric."""

GEMINI_KEY = f"AIza-{MARK}-of-gemini"
GEMINI_KEYS = (f"{MARK}-one", f"{MARK}-two")
"""Two that are used together; short, and of no issuer's form: only their value gives them away."""
REPLICATE_TOKEN = f"r8_{MARK}"
REPLICATE_WEBHOOK = f"whsec_{MARK}OfReplicatesWebhooks00"
REPLICATE_WEBHOOK_NEXT = f"whsec_{MARK}TheSecretAfterThatOne0"
S3_KEY_ID, S3_SECRET = PUBLIC_MARK, f"{MARK}/of+s3"
S3_READER_ID, S3_READER_SECRET = f"{PUBLIC_MARK}-reader", f"{MARK}/of+a+reader"
R2_SECRET = f"{MARK}/of+r2"
COLLECTOR = f"{MARK}-of-a-collector"
RETIRED = f"{MARK}-of-a-system-before"
PASSWORD = f"{MARK}-of-a-role"
"""Of roles that tests make. The embedded server makes its own password, which the scanner is told."""

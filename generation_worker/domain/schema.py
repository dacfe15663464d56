"""The schema of the database in which everything of ours lives, and what it may be called."""

import re

SCHEMA = "generation"
"""The default. The SQL files are written for it, and read for any other."""

SCHEMA_NAME = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_-]{0,39}")
"""No character that a literal would have to escape; with what follows it in a channel's name, below 63 bytes."""

SCHEMA_RULE = "letters, digits, _ and -, beginning with a letter or _, 40 characters at most, and not with pg_"

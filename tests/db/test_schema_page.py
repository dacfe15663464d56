import pytest

from tests.generate_schema import difference, fresh_schema
from tests.support.database import SCHEMA


@pytest.mark.skipif(SCHEMA != "generation", reason="the page is written for the default schema")
def test_the_schema_page_is_what_a_fresh_migration_makes():
    fresh = fresh_schema()
    assert difference(fresh) == "", "run: python -m tests.generate_schema"
    assert "+one more line" in difference(fresh + "one more line\n")

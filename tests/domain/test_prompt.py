"""Placeholders: each replaced once, by nothing that expands again."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.payload import fill, placeholders


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a kite", []),
        ("a {{color}} kite", ["color"]),
        ("{{ color }} and {{color}} over {{\tsea_2\n}}", ["color", "sea_2"]),
        ("{{b}} {{a}}", ["b", "a"]),
        ("{color} {{2}} {{a-b}} {{}} {{ }} {{a b}} {{a", []),
        ("{{{a}}}", ["a"]),
    ],
)
def test_placeholders_are_found_once_each_in_order(prompt: str, names: list[str]) -> None:
    assert placeholders(prompt) == names


def test_every_placeholder_of_a_name_is_filled() -> None:
    assert fill("{{a}} and {{ a }} or {{b}}", {"a": "x", "b": "y"}) == "x and x or y"


def test_an_input_is_not_expanded_again() -> None:
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": r"\1 {{a}}"}) == r"{{b}} \1 {{a}}"


def test_a_missing_input_is_named() -> None:
    with pytest.raises(KeyError, match="color"):
        fill("{{color}}", {})


@given(st.text(), st.text())
def test_an_input_stands_in_the_prompt_as_it_is(before: str, value: str) -> None:
    before = before.replace("{", "")
    assert fill(before + "{{name}}", {"name": value}) == before + value


@given(st.text(alphabet="{} ab_1"), st.text(alphabet="{} ab_1"))
def test_filling_needs_exactly_the_inputs_that_were_found(prompt: str, value: str) -> None:
    names = placeholders(prompt)
    fill(prompt, dict.fromkeys(names, value))
    for name in names:
        with pytest.raises(KeyError):
            fill(prompt, {other: value for other in names if other != name})

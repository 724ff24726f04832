"""A registry teaches by its errors and never loses an entry in silence."""

import pytest

from src.utils.errors import UserError
from src.utils.registry import Registry


@pytest.fixture
def fruits() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    registry.register("banana")(2)
    registry.register("Apple")(1)
    return registry


@pytest.mark.parametrize("name", ["apple", "Apple", "APPLE"])
def test_names_are_case_insensitive(fruits: Registry[int], name: str) -> None:
    assert fruits.get(name) == 1


def test_register_returns_the_entry_it_decorates() -> None:
    registry: Registry[type] = Registry("thing")

    @registry.register("thing")
    class Thing:
        pass

    assert registry.get("thing") is Thing


def test_names_come_sorted(fruits: Registry[int]) -> None:
    assert list(fruits) == ["apple", "banana"]


def test_a_second_entry_of_one_name_is_refused_and_the_first_stays(fruits: Registry[int]) -> None:
    with pytest.raises(ValueError, match="'APPLE' is registered twice"):
        fruits.register("APPLE")(3)
    assert fruits.get("apple") == 1


def test_a_near_miss_is_told_its_right_spelling_and_the_choices(fruits: Registry[int]) -> None:
    with pytest.raises(
        UserError, match=r"unknown fruit 'bananna'; did you mean 'banana'\?; choices: apple, banana"
    ):
        fruits.get("bananna")


def test_a_far_miss_is_told_the_choices_only(fruits: Registry[int]) -> None:
    with pytest.raises(UserError, match=r"^unknown fruit 'xyz'; choices: apple, banana$"):
        fruits.get("xyz")

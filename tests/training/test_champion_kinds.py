"""A further kind of champion is one entry in a table."""

import pytest

from credit_default.core import champions as kinds
from credit_default.core.champions import (
    CHAMPIONS,
    ChampionKind,
    champion_help,
    champion_kind,
)
from credit_default.training.champion import choose_members


def choose_nothing(tuning, preset):
    "Return what was given, as a kind's function would get it."
    return tuning, preset


def test_a_kind_of_champion_is_one_entry(monkeypatch):
    kind = ChampionKind(
        "own", "a model of one's own", "It was asked for.", f"{__name__}:choose_nothing"
    )
    monkeypatch.setitem(kinds.CHAMPIONS, "own", kind)
    assert choose_members("a search", "own", "full") == ("a search", "full")
    assert "or a model of one's own (own)" in champion_help()


@pytest.mark.parametrize("name", CHAMPIONS)
def test_the_function_of_each_kind_can_be_imported(name):
    with pytest.raises(AttributeError):
        champion_kind(name).choose(None, "quick")


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"blend, single.*not 'best'"):
        champion_kind("best")

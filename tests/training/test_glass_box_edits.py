"""Edits of a glass box's terms: what they change, what they leave, and that they are repeated."""

import numpy as np
import pytest
from typer.testing import CliRunner

import credit_default as cd
from credit_default.cli.app import app
from credit_default.core.errors import InvalidInput
from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.evaluation.charts.additive import plot_curve
from credit_default.evaluation.validation.monotonicity import monotonicity
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.training.additive.edit_cost import edit_cost, edit_effects
from credit_default.training.additive.edits import check_edits, read_edits
from credit_default.training.additive.printed import print_glass_box
from credit_default.training.recipe import Recipe
from credit_default.training.reproduction import reproduce_training
from credit_default.training.search_space import additive_recipe
from credit_default.training.training import fit_recipe, train_model

SMALL = dict(bins=32, pairs=8, bags=3)
SIGNED = dict(by="R. Muster", why="a test")
FILE = """\
[[edit]]
term = "age"
action = "flatten"
between = [60, 70]
by = "R. Muster"
why = "The step comes from few loans"

[[edit]]
term = "MonthlyIncome"
action = "monotone"
direction = "falls"
by = "R. Muster"
why = "More income is never worse"
"""


def small_recipe(portfolio):
    return additive_recipe(portfolio).model_copy(update=dict(parameters=SMALL))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "gmsc.edits.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sides():
    gmsc = get_portfolio("gmsc")
    return gmsc, *split(load(gmsc, None).take(np.arange(3000)))


@pytest.fixture(scope="module")
def edited(sides, file):
    gmsc, train, holdout = sides
    edits = read_edits(file, gmsc)
    recipe = small_recipe(gmsc).model_copy(update=dict(edits=edits))
    return fit_recipe(gmsc, recipe, train, holdout)


def moved_pds(training, name, values):
    "The PDs of some of the holdout, one row a value of a field."
    few = {k: v[:200] for k, v in training.holdout.columns.items()}
    return np.array(
        [
            training.bundle.score(
                few | {name: np.full(200, float(value))}, reasons=False
            ).probability_default
            for value in values
        ]
    )


def test_a_recipe_without_edits_is_recorded_as_before(sides):
    gmsc, *_ = sides
    recipe = small_recipe(gmsc)
    assert "edits" not in recipe.model_dump() and "edits" not in recipe.model_dump_json()
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_an_edited_curve_is_flat_or_monotone_where_it_was_said(edited):
    box = print_glass_box(edited.fitted, edited.train.frame)
    curves = {curve.axes[0].title: curve for curve in box.curves}
    age, income = curves["Age"], curves["Monthly income"]
    inner = (age.axes[0].cuts > 60) & (age.axes[0].cuts <= 70)
    steps = np.diff(age.scores[1:])
    assert inner.any() and (steps[inner] == 0).all() and (steps <= 0).all()
    assert (np.diff(income.scores[1:]) <= 0).all() and income.before is not None
    assert curves["Debt ratio times monthly income"].before is None
    lines = [line.get_label() for line in plot_curve(income).axes[0].lines]
    assert "before the edits" in lines


def test_no_applicant_moves_against_a_direction_after_edits(edited):
    bundle = edited.bundle

    def pds(columns):
        return bundle.score(columns, reasons=False).probability_default

    moved = monotonicity(
        pds, edited.holdout.columns, bundle.portfolio, bundle.names, tolerance=1e-9
    )
    assert (moved.against == 0).all(), moved


def test_a_term_that_is_removed_moves_no_pd(sides):
    gmsc, train, holdout = sides
    entry = dict(term="NumberOfDependents", action="flatten", **SIGNED)
    pairs = [entry | dict(other=f.name) for f in gmsc.inputs() if f.name != "NumberOfDependents"]
    edits = check_edits([entry, *pairs], gmsc)
    recipe = small_recipe(gmsc).model_copy(update=dict(edits=edits))
    training = fit_recipe(gmsc, recipe, train, holdout)
    moved = moved_pds(training, "NumberOfDependents", [0, 1, 5])
    np.testing.assert_allclose(moved, np.repeat(moved[:1], 3, axis=0), rtol=0, atol=1e-12)
    found = [row["found"] for row in edit_effects(training.fitted)]
    assert found[0] and not all(found)


def test_a_term_of_a_derived_feature_is_edited_by_its_own_name(sides):
    gmsc, train, holdout = sides
    edits = check_edits([dict(term="late_weighted", action="flatten", **SIGNED)], gmsc)
    recipe = small_recipe(gmsc).model_copy(update=dict(derived=True, edits=edits))
    ((pipeline, _),) = fit_recipe(gmsc, recipe, train, holdout).fitted.pipelines
    at = [one.name for one in pipeline[-1].inputs_].index("late_weighted")
    (curve,) = [term for term in pipeline[-1].terms_ if term.inputs == (at,)]
    assert np.ptp(curve.scores) == 0
    with pytest.raises(InvalidInput, match="no term of late_weighted, but of .*age"):
        fit_recipe(gmsc, recipe.model_copy(update=dict(derived=False)), train, holdout)


def test_the_cost_is_that_of_the_same_model_without_edits(edited, sides):
    gmsc, train, holdout = sides
    cost = edit_cost(edited)
    free = fit_recipe(gmsc, small_recipe(gmsc), train, holdout)
    before = free.bundle.metrics
    assert cost.auc_before[1] == pytest.approx(before["auc"], abs=1e-9)
    assert cost.loss_before[1] == pytest.approx(before["log_loss"], abs=1e-9)
    assert cost.auc_after[1] == pytest.approx(edited.bundle.metrics["auc"], abs=1e-9)
    assert cost.loss_after[1] == pytest.approx(edited.bundle.metrics["log_loss"], abs=1e-9)


def test_edits_are_recorded_and_repeated(file, monkeypatch):
    monkeypatch.setattr("credit_default.training.champion.additive_recipe", small_recipe)
    gmsc, data = get_portfolio("gmsc"), load(get_portfolio("gmsc"), None).take(np.arange(2500))
    how = dict(champion="glassbox", trials=1, progress=False)
    made = train_model(gmsc, data, **how, edits=read_edits(file, gmsc))
    (member,) = made.bundle.provenance["members"]
    assert [edit["term"] for edit in member["recipe"]["edits"]] == ["age", "MonthlyIncome"]
    assert [edit["what"] for edit in made.bundle.card["edits"]] == [
        "flattened from 60 to 70",
        "only falls",
    ]
    again = reproduce_training(made.bundle, data)
    assert again.agrees, again.to_dict()
    free = train_model(gmsc, data, **how)
    assert "edits" not in free.bundle.card
    terms = [b.members[0].model.scores for b in (made.bundle, free.bundle)]
    assert not np.array_equal(*terms)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (dict(term="salary"), ["term", "'salary'", "MonthlyIncome"]),
        (dict(action="smooth"), ["action", "flatten", "monotone"]),
        (dict(action="monotone"), ["direction", "rises or falls"]),
        (dict(action="monotone", direction="rises"), ["direction", "only fall with age"]),
        (dict(between=[70, 60]), ["between", "below the second"]),
        (dict(other="age"), ["other", "different"]),
        (dict(other="MonthlyIncome", between=[1, 2]), ["other", "as a whole"]),
        (dict(by=" "), ["by", "who decided"]),
        (dict(range=[1, 2]), ["range", "no such key", "between"]),
    ],
)
def test_errors_name_entry_and_key(entry, told):
    good = dict(term="age", action="flatten", **SIGNED)
    with pytest.raises(InvalidInput) as caught:
        check_edits([good, good | entry], get_portfolio("gmsc"), source="x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml, edit 2: ")
    assert all(words in message for words in told)


def test_a_category_is_flattened_whole_or_not_at_all():
    entry = dict(term="loan_purpose", action="flatten", between=[1, 2], **SIGNED)
    with pytest.raises(InvalidInput, match="category"):
        check_edits([entry], get_portfolio("mortgage"))


@pytest.mark.parametrize(
    ("text", "told"), [("[[edit]", "no TOML"), ("edits = 1", "[[edit]]"), ("", "at least one")]
)
def test_a_file_that_holds_no_edits_is_refused(tmp_path, text, told):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        read_edits(path, get_portfolio("gmsc"))
    assert told in str(caught.value) and "wrong.toml" in str(caught.value)


def test_the_command_refuses_edits_before_it_trains(file):
    blend = CliRunner().invoke(app, ["train", "--edits", str(file)])
    assert blend.exit_code == 2 and "glassbox" in blend.output
    absent = CliRunner().invoke(
        app, ["train", "--champion", "glassbox", "--edits", "absent.edits.toml"]
    )
    assert absent.exit_code == 2 and "absent.edits.toml" in absent.output


def test_python_refuses_edits_of_a_blend_before_it_searches(file):
    loans = cd.load_data("gmsc")
    with pytest.raises(InvalidInput, match="glassbox, not blend"):
        cd.train(loans, edits=file, progress=False)

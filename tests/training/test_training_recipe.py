"""What a recipe refuses, so that nothing is begun that cannot be fitted."""

import pytest

from credit_default.training.recipe import Recipe


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (dict(candidate="logistic"), "missing values"),
        (dict(candidate="network"), "missing values"),
        (dict(sampler="smote"), "measures distances"),
        (dict(parameters=dict(max_dept=4)), "no parameter max_dept"),
        (dict(parameters=dict(positive_weight=3)), "positive_weight"),
        (dict(candidate="network", imputation="mice", monotone=True), "cannot be held"),
        (dict(candidate="lightgbm"), "'xgboost', 'network'"),
    ],
)
def test_choices_that_exclude_each_other_are_refused(choices, reason):
    with pytest.raises(ValueError, match=reason):
        Recipe(**choices)


def test_a_recipe_comes_back_from_json():
    recipe = Recipe(imputation="mice", sampler="smote", parameters=dict(max_depth=4, ratio=0.3))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe

"""A blend of models that tell nothing is refused by what is wrong, and not by steps."""

import numpy as np
import pytest

from credit_default.core.errors import InvalidInput
from credit_default.training.blending import choose_blend


def test_too_few_defaults_for_a_blend_are_said():
    rng = np.random.default_rng(1)
    y = np.r_[np.ones(20), np.zeros(280)]
    against = {"logistic raw": -4 * (y + rng.normal(0, 0.1, 300))}  # worse than chance
    with pytest.raises(InvalidInput, match="20 defaults in 300 rows are too few"):
        choose_blend(against, {"logistic raw": 10}, y, np.arange(300) % 5)
    with pytest.raises(ValueError, match="no model takes at most 5 steps"):
        choose_blend(against, {"logistic raw": 10}, y, np.arange(300) % 5, budget=5)

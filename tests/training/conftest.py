"""The synthetic sample that the tests of training share."""

from types import SimpleNamespace

import numpy as np
import pytest

from credit_default.data.loading import load
from credit_default.data.split import split
from credit_default.data.synthetic import synthesize
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.training.feature_transformer import FeatureTransformer


@pytest.fixture(scope="package")
def gmsc():
    return get_portfolio("gmsc")


@pytest.fixture(scope="package")
def sample(gmsc):
    "Applicants to fit on and as many that no model sees, as tables and as matrices."
    train, y, _ = synthesize(gmsc, 4000, seed=1)
    test, y_test, _ = synthesize(gmsc, 4000, seed=2)
    features = FeatureTransformer(gmsc).fit(train)
    return SimpleNamespace(
        train=train,
        y=y,
        test=test,
        y_test=y_test,
        features=features,
        X=features.transform(train),
        X_test=features.transform(test),
        log=[f.log for f in features.feature_map_.features],
    )


@pytest.fixture(scope="package")
def loans(gmsc):
    "Training rows and holdout of a small synthetic sample."
    return split(load(gmsc, None).take(np.arange(4000)))

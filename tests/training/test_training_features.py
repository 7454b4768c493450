"""The transformer and the sampler: scikit-learn's conventions, the same bits again."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from credit_default.training.feature_transformer import FeatureTransformer
from credit_default.training.recipe import SYNTHETIC_SAMPLERS
from credit_default.training.sampling import ScaledSampler


def test_a_transformer_follows_the_conventions(gmsc, sample):
    fresh = FeatureTransformer(gmsc, imputation="none", keep=())
    copy = clone(fresh).set_params(imputation="median")
    assert (copy.imputation, fresh.imputation, copy.portfolio) == ("median", "none", gmsc)
    assert set(fresh.get_params()) == {
        "portfolio",
        "imputation",
        "derived",
        "keep",
        "seed",
        "codes",
    }
    for early in (fresh.get_feature_names_out, lambda: fresh.transform(sample.test)):
        with pytest.raises(NotFittedError):
            early()
    assert not [k for k in vars(fresh) if k.endswith("_")]
    names = sample.features.feature_map_.names
    assert list(sample.features.get_feature_names_out()) == names


def test_a_transformer_fits_and_transforms_to_the_same_bits(gmsc, sample):
    fresh = FeatureTransformer(gmsc, imputation="none")
    np.testing.assert_array_equal(
        fresh.fit(sample.train).transform(sample.train), fresh.fit_transform(sample.train)
    )
    assert np.isnan(fresh.transform(sample.train)).any() and not np.isnan(sample.X).any()
    again = FeatureTransformer(gmsc).fit(sample.train).transform(sample.test)
    np.testing.assert_array_equal(again, sample.X_test)


def test_what_the_service_would_refuse_is_refused(sample):
    with pytest.raises(ValueError, match="row 1, age"):
        sample.features.transform(sample.test.head(3).assign(age=[45, -3, 30]))


def test_a_sampler_keeps_real_rows_and_repeats_itself(sample):
    X, y, sampler = sample.X, sample.y, ScaledSampler(ratio=0.3, log=sample.log)
    sampled, outcome = sampler.fit_resample(X, y)
    np.testing.assert_array_equal(sampled[: len(X)], X)
    np.testing.assert_array_equal(outcome[: len(X)], y)
    assert (sampled[len(X) :] >= X.min(axis=0) - 1e-6).all()
    np.testing.assert_array_equal(sampler.fit_resample(X, y)[0], sampled)


@pytest.mark.parametrize("kind", SYNTHETIC_SAMPLERS)
def test_each_sampler_invents_defaulters(sample, kind):
    sampled, _ = ScaledSampler(kind, ratio=0.3, log=sample.log).fit_resample(sample.X, sample.y)
    assert len(sampled) > len(sample.X)

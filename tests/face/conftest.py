"""One small training of the synthetic sample for all tests of the Python face."""

import numpy as np
import pytest

import credit_default as cd


@pytest.fixture(scope="session")
def loans():
    return cd.load_data("gmsc", seed=3).take(np.arange(4000))


@pytest.fixture(scope="session")
def training(loans, bentoml_home):
    return cd.train(loans, trials=2, progress=False)


@pytest.fixture(scope="session")
def model(training):
    model = training.model
    model.save()
    return model


@pytest.fixture
def applicants(loans):
    frame = loans.frame.head(300).copy()
    return frame.set_axis([f"applicant {i}" for i in range(len(frame))])

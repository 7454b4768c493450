"""A search that was cut off, resumed, killed or replayed makes the same trials; margins that were
kept on disk are those that would be made.
"""

import numpy as np
import pandas as pd
import pytest

from credit_default.training.folds import Folds, reseeded
from credit_default.training.recipe import Recipe
from credit_default.training.study import JournalFileBackend, open_study, optuna
from credit_default.training.tuning import SearchOptions, tune

TREES = Recipe(parameters=dict(n_estimators=30, max_depth=3, subsample=0.7))


@pytest.fixture(scope="module")
def few(sample):
    return sample.train.head(1200), sample.y[:1200]


@pytest.fixture(scope="module")
def search(gmsc, few):
    "A function of options: the trials of a search on few rows."

    def run(**options):
        return tune(gmsc, *few, SearchOptions(**dict(progress=False) | options))

    return run


@pytest.fixture(scope="module")
def whole(search):
    return search(trials=11)


def same_trials(a, b):
    pd.testing.assert_frame_equal(
        a.trials.drop(columns="seconds"), b.trials.drop(columns="seconds")
    )


def test_a_search_that_was_cut_off_goes_on(search, whole, tmp_path):
    journal = tmp_path / "studies.log"
    same_trials(search(storage=journal, trials=11), whole)
    search(storage=journal, trials=5)  # a study of its own
    resumed = search(storage=journal, trials=11, resume=True)
    same_trials(resumed, whole)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    assert optuna.get_all_study_names(storage) == ["gmsc-1", "gmsc-2"]
    assert resumed.study == "gmsc-2"
    with pytest.raises(ValueError, match="other data, fields, folds or seed"):
        search(storage=journal, resume=True, seed=1)


def test_a_trial_that_was_killed_is_made_again(gmsc, search, whole, tmp_path):
    journal = tmp_path / "studies.log"
    killed = search(storage=journal, trials=9)
    open_study(gmsc, killed.folds, journal, resume=True).ask()  # ... and the power fails
    same_trials(search(storage=journal, trials=11, resume=True), whole)


def test_the_number_of_cores_changes_nothing(search, whole):
    same_trials(search(threads=1, trials=11), whole)
    same_trials(search(threads=5, trials=11), whole)


def test_a_search_that_breaks_off_between_open_trials_goes_on(search, whole, tmp_path):
    journal = tmp_path / "studies.log"

    def interrupt(done, total, best):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(storage=journal, trials=11, progress=interrupt)
    same_trials(search(storage=journal, trials=11, resume=True), whole)


def test_there_has_to_be_something_to_resume(search, tmp_path):
    with pytest.raises(ValueError, match="holds no study"):
        search(storage=tmp_path / "new.log", resume=True)
    with pytest.raises(ValueError, match="nothing to resume"):
        search(resume=True)


def test_a_search_is_replayed_from_its_record(search, whole):
    recorded = [Recipe.model_validate_json(r) for r in whole.trials.recipe]
    same_trials(search(first=recorded, trials=len(recorded)), whole)


def test_an_unknown_preset_is_refused(search):
    with pytest.raises(ValueError, match="quick, full"):
        search(preset="quik")


def test_at_least_one_trial_is_made(search):
    short = search(timeout=0, candidates=("logistic",))
    assert len(short.trials) == 1 and short.champion.candidate == "logistic"


def test_margins_on_disk_are_those_that_would_be_made(gmsc, few, tmp_path):
    folder = tmp_path / "margins"
    first = Folds(gmsc, *few, cache=folder).margins(TREES)
    files = sorted(folder.iterdir())
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:200])  # cut short: made again
    np.testing.assert_array_equal(Folds(gmsc, *few, cache=folder).margins(TREES), first)
    np.testing.assert_array_equal(Folds(gmsc, *few).margins(TREES), first)


def test_another_seed_keeps_splits_and_matrices(gmsc, few, tmp_path):
    folds = Folds(gmsc, *few, cache=tmp_path)
    imputed = Recipe(imputation="mice", parameters=TREES.parameters)
    again, whole = reseeded(folds, 1), folds.margins(imputed)
    assert [a.tolist() for a in again.splits[0]] == [a.tolist() for a in folds.splits[0]]
    np.testing.assert_array_equal(
        again.matrices(0, "mice", True)[0], folds.matrices(0, "mice", True)[0]
    )
    assert (again.margins(imputed) != whole).any()
    elsewhere = Folds(gmsc, *few, seed=1, cache=tmp_path)
    assert again.fingerprint != elsewhere.fingerprint
    assert (again.margins(imputed) != elsewhere.margins(imputed)).any()
    assert reseeded(folds, 0).fingerprint == folds.fingerprint


def test_another_seed_imputes_as_the_first_whoever_comes_first(gmsc, few):
    imputed = Recipe(imputation="mice", parameters=TREES.parameters)
    one, other = Folds(gmsc, *few), Folds(gmsc, *few)
    one.margins(imputed)
    np.testing.assert_array_equal(
        reseeded(one, 1).margins(imputed), reseeded(other, 1).margins(imputed)
    )


def test_too_few_defaults_for_the_folds(gmsc, few):
    with pytest.raises(ValueError, match="4 rows with the rarer outcome are too few for 3 folds"):
        Folds(gmsc, few[0], np.arange(1200) < 4)

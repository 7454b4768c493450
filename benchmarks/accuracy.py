"""Compare our models with others in pairs, on the same folds in one run.

    python benchmarks/accuracy.py [--portfolio gmsc] [--models champion,lightgbm,ebm] [--json FILE]

Shuffles the portfolio's labelled rows (of CREDIT_DEFAULT_DATA or data/) by `sample(frac=1,
random_state=42)` and cuts them by StratifiedKFold(3, shuffle=True, random_state=0). Each model is
fitted on two folds and predicts the third. All choosing, tuning, stopping, weighting and
calibrating happens inside the two. Predictions are cached: a second run prints the tables within
seconds, and recomputes only models whose code, library or data changed.

The other models use the raw fields, without those that the portfolio excludes, and have the
settings that their names state.
"""

import argparse
import hashlib
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from credit_default.data.csv_text import DataError
from credit_default.data.loading import load
from credit_default.data.sources import find
from credit_default.evaluation.calibration_errors import brier
from credit_default.evaluation.discrimination import auc
from credit_default.evaluation.validation.comparison import paired_auc
from credit_default.portfolio.catalogue import get_portfolio
from credit_default.portfolio.values import implausible_mask

HERE = Path(__file__).resolve().parent
FOLDS, THREADS = 3, 2


@dataclass
class Model:
    """What is compared: a function that fits on the training part and answers the PDs of the test
    part.
    """

    title: str
    libraries: tuple[str, ...]  # whose versions matter
    predict: Callable
    ours: bool = False
    plausible: bool = False  # sees codes and implausible values as missing
    budget: str = ""  # `trials` or `seconds`, told how many; takes hours: only if it is named
    environment: str = ""  # folder beside this file where its libraries are, if not with ours


MODELS = {}


def model(title, *libraries, **how):
    "Registers the function under its own name."

    def register(function):
        MODELS[function.__name__] = Model(title, libraries, function, **how)
        return function

    return register


# Ours: `train` and `test` are data sets of the package, and `test` is for predicting alone.

SEARCHED = {}  # by the rows that are searched on: champion, single and glass box are of one search


def trained(train, test, keep, preset, trials, champion):
    "PDs of `test` by what `credit-default train` would make of all of `train`."
    from credit_default.training.champion import choose_members, fit_choice
    from credit_default.training.tuning import SearchOptions, tune

    rows = train.provenance["sha256"]
    if rows not in SEARCHED:
        SEARCHED[rows] = tune(
            train.portfolio,
            train.frame,
            train.y,
            SearchOptions(preset=preset, trials=trials, keep=keep, threads=THREADS),
        )
    fitted = fit_choice(
        train.portfolio,
        choose_members(SEARCHED[rows], champion, preset),
        train,
        SEARCHED[rows],
    )
    print(f"  {fitted.choice.describe()}", file=sys.stderr, flush=True)
    return fitted.bundle.score(test.columns, reasons=False).probability_default


@model("ours: champion, a blend", "xgboost", "sklearn", "optuna", ours=True)
def champion(train, test, keep, preset, trials):
    return trained(train, test, keep, preset, trials, "blend")


@model("ours: single, monotone", "xgboost", "sklearn", "optuna", ours=True)
def single(train, test, keep, preset, trials):
    return trained(train, test, keep, preset, trials, "single")


def unsearched(train, test, keep, recipe):
    "PDs of `test` by a recipe that no search takes part in."
    from credit_default.training.champion import choice_of_one, fit_choice
    from credit_default.training.folds import Folds
    from credit_default.training.tuning import number_of_folds

    folds = Folds(
        train.portfolio, train.frame, train.y, number_of_folds(len(train)), 0, keep, THREADS
    )
    fitted = fit_choice(train.portfolio, choice_of_one(recipe, folds), train, reasons=False)
    print(f"  {fitted.choice.describe()}", file=sys.stderr, flush=True)
    return fitted.bundle.score(test.columns, reasons=False).probability_default


@model("ours: glass box, additive", "interpret", "xgboost", "sklearn", "optuna", ours=True)
def glassbox(train, test, keep, preset, trials):
    return trained(train, test, keep, preset, trials, "glassbox")


@model("ours: points scorecard", "optbinning", "sklearn", ours=True)
def scorecard(train, test, keep, preset, trials):
    "What `train --champion scorecard` makes."
    from credit_default.training.search_space import scorecard_recipe

    return unsearched(train, test, keep, scorecard_recipe(train.portfolio))


# The others: `train` and `test` are tables of raw fields, numbers with NaN or pandas categories.


def numbers(train, test):
    """Both tables as numbers: a column of 0 and 1 for each category, gaps filled by the median of
    `train`.
    """
    train, test = (pd.get_dummies(table, dtype=float) for table in (train, test))
    middle = train.median().fillna(0)
    return train.fillna(middle), test.fillna(middle)


@model("logistic regression, median imputed", "sklearn")
def logistic(train, y, test):
    from sklearn.linear_model import LogisticRegression

    train, test = numbers(train, test)
    return LogisticRegression().fit(train, y).predict_proba(test)[:, 1]


@model("random forest 300 x depth 20, balanced", "sklearn")
def forest(train, y, test):
    from sklearn.ensemble import RandomForestClassifier

    train, test = numbers(train, test)
    fitted = RandomForestClassifier(
        300, max_depth=20, class_weight="balanced", n_jobs=THREADS, random_state=0
    ).fit(train, y)
    return fitted.predict_proba(test)[:, 1]


@model(
    "logistic regression, SMOTE, min-max", "sklearn", "imblearn", plausible=True
)  # one value of 50,000 times the usual would make the scale
def logistic_smote(train, y, test):
    from imblearn.over_sampling import SMOTE
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MinMaxScaler

    train, test = numbers(train, test)
    scale = MinMaxScaler().fit(train)
    rows, outcomes = SMOTE(random_state=0).fit_resample(scale.transform(train), y)
    return (
        LogisticRegression(max_iter=1000)
        .fit(rows, outcomes)
        .predict_proba(scale.transform(test))[:, 1]
    )


@model("MICE, SMOTE, XGBoost 300 x depth 5", "fancyimpute", "sklearn", "imblearn", "xgboost")
def mice_smote_xgboost(train, y, test):
    from fancyimpute import IterativeImputer
    from imblearn.over_sampling import SMOTE
    from xgboost import XGBClassifier

    train, test = (pd.get_dummies(table, dtype=float).to_numpy() for table in (train, test))
    fill = IterativeImputer(random_state=0, keep_empty_features=True).fit(train)
    rows, outcomes = SMOTE(random_state=0).fit_resample(fill.transform(train), y)
    fitted = XGBClassifier(n_estimators=300, max_depth=5, learning_rate=0.1, n_jobs=THREADS).fit(
        rows, outcomes
    )  # at the default 0.3 it is worse by 0.01
    return fitted.predict_proba(fill.transform(test))[:, 1]


@model("XGBoost default", "xgboost")
def xgboost(train, y, test):
    from xgboost import XGBClassifier

    return (
        XGBClassifier(enable_categorical=True, n_jobs=THREADS)
        .fit(train, y)
        .predict_proba(test)[:, 1]
    )


@model("LightGBM default", "lightgbm")
def lightgbm(train, y, test):
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_jobs=THREADS, verbose=-1).fit(train, y).predict_proba(test)[:, 1]


def missing_texts(train, test):
    """Both tables as CatBoost takes them, a category as text and a missing one as a text of its
    own; and the names of the categories.
    """
    texts = list(train.select_dtypes("category"))
    as_texts = [
        table.assign(**{c: table[c].astype(object).fillna("missing") for c in texts})
        for table in (train, test)
    ]
    return *as_texts, texts


@model("CatBoost default", "catboost")
def catboost(train, y, test):
    from catboost import CatBoostClassifier

    train, test, texts = missing_texts(train, test)
    fitted = CatBoostClassifier(
        cat_features=texts, thread_count=THREADS, verbose=False, allow_writing_files=False
    ).fit(train, y)
    return fitted.predict_proba(test)[:, 1]


def tuned(make, space, defaults, train, y, test, trials):
    """PDs by the settings with the best mean AUC on three folds of `train`. The first trial has the
    library's defaults, the others what TPE proposes.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = list(StratifiedKFold(3, shuffle=True, random_state=0).split(train, y))

    def reached(trial):
        settings = space(trial)
        fitted = [(make(settings).fit(train.iloc[fit], y[fit]), judge) for fit, judge in parts]
        return np.mean(
            [auc(y[judge], f.predict_proba(train.iloc[judge])[:, 1]) for f, judge in fitted]
        )

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial(defaults)
    study.optimize(reached, n_trials=trials)
    print(f"  {study.best_params}", file=sys.stderr, flush=True)
    return make(space(study.best_trial)).fit(train, y).predict_proba(test)[:, 1]


@model(
    "LightGBM, tuned by as many trials as ours", "lightgbm", "optuna", "sklearn", budget="trials"
)
def lightgbm_tuned(train, y, test, trials):
    from lightgbm import LGBMClassifier

    def space(trial):
        return dict(
            n_estimators=trial.suggest_int("n_estimators", 100, 1000, log=True),
            learning_rate=trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            num_leaves=trial.suggest_int("num_leaves", 4, 128, log=True),
            min_child_samples=trial.suggest_int("min_child_samples", 5, 500, log=True),
            subsample=trial.suggest_float("subsample", 0.5, 1.0),
            colsample_bytree=trial.suggest_float("colsample_bytree", 0.3, 1.0),
            reg_lambda=trial.suggest_float("reg_lambda", 1e-3, 100.0, log=True),
        )

    def make(settings):
        return LGBMClassifier(
            **settings, subsample_freq=1, random_state=0, n_jobs=THREADS, verbose=-1
        )

    defaults = dict(
        n_estimators=100,
        learning_rate=0.1,
        num_leaves=31,
        min_child_samples=20,
        subsample=1.0,
        colsample_bytree=1.0,
        reg_lambda=1e-3,
    )
    return tuned(make, space, defaults, train, y, test, trials)


@model(
    "CatBoost, tuned by as many trials as ours", "catboost", "optuna", "sklearn", budget="trials"
)
def catboost_tuned(train, y, test, trials):
    from catboost import CatBoostClassifier

    train, test, texts = missing_texts(train, test)

    def space(trial):
        return dict(
            iterations=trial.suggest_int("iterations", 200, 2000, log=True),
            learning_rate=trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            depth=trial.suggest_int("depth", 3, 8),
            l2_leaf_reg=trial.suggest_float("l2_leaf_reg", 1.0, 30.0, log=True),
            random_strength=trial.suggest_float("random_strength", 0.1, 10.0, log=True),
            bagging_temperature=trial.suggest_float("bagging_temperature", 0.0, 2.0),
        )

    def make(settings):
        return CatBoostClassifier(
            **settings,
            cat_features=texts,
            random_seed=0,
            thread_count=THREADS,
            verbose=False,
            allow_writing_files=False,
        )

    # its default rate follows from rows and iterations: near 0.08 at 80,000 and 1,000
    defaults = dict(
        iterations=1000,
        learning_rate=0.08,
        depth=6,
        l2_leaf_reg=3.0,
        random_strength=1.0,
        bagging_temperature=1.0,
    )
    return tuned(make, space, defaults, train, y, test, trials)


AUTOGLUON = HERE / "arms" / "autogluon_best.py"


@model("AutoGluon, best quality", "autogluon.tabular", budget="seconds", environment=".autogluon")
def autogluon(train, y, test, seconds):
    python = interpreter(MODELS["autogluon"])
    with tempfile.TemporaryDirectory() as folder:
        train.assign(outcome=y).to_parquet(Path(folder, "train.parquet"))
        test.to_parquet(Path(folder, "test.parquet"))
        subprocess.run(
            [python, AUTOGLUON, folder, str(seconds), str(THREADS)], check=True, stdout=sys.stderr
        )
        return np.load(Path(folder, "pd.npy"))


def bagged(fitted, train, y, test):
    """Mean PD of eight models, each fitted on seven parts of `train` and stopped by the eighth;
    both libraries remember the best round.
    """
    parts = StratifiedKFold(8, shuffle=True, random_state=0).split(train, y)
    return np.mean(
        [
            fitted(train.iloc[fit], y[fit], train.iloc[stop], y[stop]).predict_proba(test)[:, 1]
            for fit, stop in parts
        ],
        axis=0,
    )


@model("XGBoost default, 8 bags, early stopping", "xgboost", "sklearn")
def xgboost_bagged(train, y, test):
    from xgboost import XGBClassifier

    def fitted(rows, outcomes, stop_rows, stop_outcomes):
        booster = XGBClassifier(
            n_estimators=2000, early_stopping_rounds=50, enable_categorical=True, n_jobs=THREADS
        )
        return booster.fit(rows, outcomes, eval_set=[(stop_rows, stop_outcomes)], verbose=False)

    return bagged(fitted, train, y, test)


@model("LightGBM default, 8 bags, early stopping", "lightgbm", "sklearn")
def lightgbm_bagged(train, y, test):
    from lightgbm import LGBMClassifier, early_stopping

    def fitted(rows, outcomes, stop_rows, stop_outcomes):
        booster = LGBMClassifier(n_estimators=2000, n_jobs=THREADS, verbose=-1)
        return booster.fit(
            rows,
            outcomes,
            eval_X=stop_rows,
            eval_y=stop_outcomes,
            callbacks=[early_stopping(50, verbose=False)],
        )

    return bagged(fitted, train, y, test)


@model("explainable boosting machine, default", "interpret")
def ebm(train, y, test):
    from interpret.glassbox import ExplainableBoostingClassifier

    return ExplainableBoostingClassifier(n_jobs=THREADS).fit(train, y).predict_proba(test)[:, 1]


@model("OptBinning scorecard, monotone, untuned", "optbinning", "sklearn")
def optbinning(train, y, test):
    from optbinning import BinningProcess, Scorecard
    from sklearn.linear_model import LogisticRegression

    texts = list(train.select_dtypes("category"))
    train, test = (t.assign(**{c: t[c].astype(object) for c in texts}) for t in (train, test))
    process = BinningProcess(
        list(train),
        categorical_variables=texts,
        binning_fit_params={c: dict(monotonic_trend="auto_asc_desc") for c in train},
    )
    card = Scorecard(process, LogisticRegression(max_iter=1000))
    card.fit(train, y, metric_missing="empirical")
    return card.predict_proba(test)[:, 1]


# The run.


def raw(dataset, keep, plausible=False):
    """The fields that a model may see, as they come, or with codes and implausible values as
    missing.
    """

    def column(f):
        values = dataset.frame[f.name].to_numpy()
        if not f.numeric:
            return pd.Categorical(values, categories=f.categories)
        return (
            np.where(implausible_mask(f, values) | np.isin(values, list(f.codes)), np.nan, values)
            if plausible
            else values
        )

    return pd.DataFrame({f.alias: column(f) for f in dataset.portfolio.inputs(keep)})


def folds(dataset):
    "Training part and test part of each fold, as positions in the data set."
    order = dataset.frame.sample(frac=1, random_state=42).index.to_numpy()
    return [
        (order[fit], order[judge])
        for fit, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(
            order, dataset.y[order]
        )
    ]


def source(function, seen=()):
    "The text of a function, and of the functions of this file that it calls."
    text = inspect.getsource(function)
    called = [
        f
        for name in dict.fromkeys(re.findall(r"(?<![\w.@])\w+(?=\()", text))
        if inspect.isfunction(f := globals().get(name)) and f not in (function, *seen)
    ]
    return text + "".join(source(f, (function, *seen)) for f in called)


def interpreter(entry):
    "The Python of the model's own environment. Ends the run where there is none."
    python = HERE / entry.environment / "bin" / "python"
    if not python.is_file():
        sys.exit(
            f"{entry.title} needs an environment of its own in {python.parents[1]}; "
            "benchmarks/README.md says how to make it"
        )
    return python


def versions(entry):
    "Versions of the libraries that a model is made of. Ends the run where one is not installed."
    if entry.environment:
        read = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        return {
            name: subprocess.check_output([interpreter(entry), "-c", read, name], text=True).strip()
            for name in entry.libraries
        }
    try:
        return {name: importlib.import_module(name).__version__ for name in entry.libraries}
    except ModuleNotFoundError as e:
        sys.exit(
            f"{e.name} is not installed; benchmarks/README.md says how to install what this "
            "benchmark needs"
        )


def content(table, y):
    """SHA-256 of a table and its outcomes: of the rows in their order, since the folds follow from
    it.
    """
    names = [
        [c, list(table[c].cat.categories) if table[c].dtype == "category" else []] for c in table
    ]
    digest = hashlib.sha256(json.dumps(names).encode())
    for values in (
        pd.util.hash_pandas_object(table, index=False).to_numpy(),
        np.asarray(y, np.int64),
    ):
        digest.update(values.tobytes())
    return digest.hexdigest()


def budgets(asked):
    "What models may spend: trials as in a search for our models, and seconds."
    from credit_default.training.tuning import PRESETS

    return dict(trials=asked.trials or PRESETS[asked.preset], seconds=asked.autogluon_seconds)


def key(name, dataset, keep, asked):
    "What the predictions of a model depend on, in 16 digits."
    entry = MODELS[name]
    told = dict(
        model=name,
        libraries=versions(entry),
        source=source(entry.predict),
        data=content(
            dataset.frame if entry.ours else raw(dataset, keep, entry.plausible), dataset.y
        ),
    )
    if entry.budget:
        told |= {entry.budget: budgets(asked)[entry.budget]}
    if entry.environment:
        told |= dict(script=AUTOGLUON.read_text())
    if entry.ours:
        code = {
            name: Path(module.__file__).read_text()
            for name, module in sys.modules.items()
            if name.startswith("credit_default.")
        }
        told |= dict(
            portfolio=dataset.portfolio.to_json(),
            keep=keep,
            preset=asked.preset,
            trials=asked.trials,
            code=code,
            ours=source(trained),
        )
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def predict(name, dataset, keep, asked, fit, judge):
    "PDs of the rows `judge` by the model fitted on the rows `fit`."
    entry = MODELS[name]
    if entry.ours:
        return entry.predict(
            dataset.take(fit), dataset.take(judge), keep, asked.preset, asked.trials
        )
    table = raw(dataset, keep, entry.plausible)
    return entry.predict(
        table.iloc[fit].reset_index(drop=True),
        dataset.y[fit],
        table.iloc[judge].reset_index(drop=True),
        *[budgets(asked)[entry.budget]] if entry.budget else [],
    )


def cached(path, again, compute):
    "PDs and the seconds they took, from the file where there is one; and whether there was."
    if path.is_file() and not again:
        with np.load(path, allow_pickle=False) as kept:
            return kept["pd"], float(kept["seconds"]), True
    began = time.monotonic()
    answer, seconds = np.asarray(compute(), np.float64), time.monotonic() - began
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, pd=answer, seconds=seconds)
    unfinished.replace(path)  # a run that is cut off leaves no half of a file behind
    return answer, seconds, False


def compare(outcomes, answers, seconds, judged):
    """The two tables: each model, and the judged one against each other model. Outcomes and answers
    are by fold.
    """
    rows = []
    for name, pds in answers.items():
        each = [auc(y, p) for y, p in zip(outcomes, pds, strict=True)]
        rows.append(
            dict(
                model=name,
                title=MODELS[name].title,
                auc=float(np.mean(each)),
                **{f"auc_{k + 1}": float(a) for k, a in enumerate(each)},
                brier=float(np.mean([brier(y, p) for y, p in zip(outcomes, pds, strict=True)])),
                mean_pd=float(np.mean(np.concatenate(pds))),
                seconds=float(np.mean(seconds[name])),
            )
        )
    rows.sort(key=lambda row: -row["auc"])
    judged = judged if judged in answers else rows[0]["model"]
    of_fold = np.repeat(np.arange(len(outcomes)), [len(y) for y in outcomes])

    def paired(ours, theirs):
        rows = (np.concatenate(parts) for parts in (outcomes, ours, theirs))
        return paired_auc(*rows, of_fold).to_dict()

    pairs = [
        dict(
            model=judged,
            against=row["model"],
            title=row["title"],
            **paired(answers[judged], answers[row["model"]]),
        )
        for row in rows
        if row["model"] != judged
    ]
    return rows, pairs


def shown(rows, digits):
    "The rows as a table: texts to the left, numbers to the right."
    table = pd.DataFrame(rows)
    texts = {c: f"{{:<{table[c].str.len().max()}}}".format for c in table.select_dtypes(object)}
    return table.to_string(
        index=False, formatters=texts | {c: f"{{:{d}}}".format for c, d in digits.items()}
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog="models: " + ", ".join(MODELS)
    )
    parser.add_argument("--portfolio", default="gmsc")
    parser.add_argument(
        "--models",
        default=",".join(name for name, entry in MODELS.items() if not entry.budget),
        help="names separated by commas (default: all but those that take hours)",
    )
    parser.add_argument(
        "--champion",
        default="champion",
        help=(
            "the model that is held against each other one (the best, where it is not among "
            "--models)"
        ),
    )
    parser.add_argument(
        "--preset",
        choices=("quick", "full"),
        default="full",
        help="length of the search for our models",
    )
    parser.add_argument("--trials", type=int, help="trials in each search (default: the preset's)")
    parser.add_argument(
        "--autogluon-seconds", type=int, default=3600, help="seconds that AutoGluon has for a fold"
    )
    parser.add_argument(
        "--keep", default="", help="lender or leaky fields to use, separated by commas"
    )
    parser.add_argument(
        "--cache", type=Path, default=HERE / ".cache", help="folder for cached predictions"
    )
    parser.add_argument("--again", action="store_true", help="recompute what is cached")
    parser.add_argument("--json", type=Path, help="file to write the tables to")
    asked = parser.parse_args()
    names, keep = ([n for n in given.split(",") if n] for given in (asked.models, asked.keep))
    if unknown := [n for n in names if n not in MODELS]:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")

    portfolio = get_portfolio(asked.portfolio)
    keep = tuple(portfolio[k].name for k in keep)
    found = find(portfolio)
    if found.path is None:
        sys.exit(found.message)
    try:
        dataset = load(portfolio, found, keep=keep)
    except DataError as e:
        sys.exit(str(e))

    warnings.filterwarnings(
        "ignore", "lbfgs failed to converge"
    )  # as it comes, a logistic regression does not on amounts of money
    warnings.filterwarnings(
        "ignore", "Missing values detected", UserWarning
    )  # of interpret, about its charts
    parts, answers, seconds = folds(dataset), {}, {}
    keys = {
        name: key(name, dataset, keep, asked) for name in names
    }  # says what is not installed before anything is computed
    for name in names:
        answers[name], seconds[name] = [], []
        for k, (fit, judge) in enumerate(parts, start=1):
            path = asked.cache / portfolio.name / f"{name}-fold{k}-{keys[name]}.npz"
            answer, took, known = cached(
                path,
                asked.again,
                partial(predict, name, dataset, keep, asked, fit, judge),
            )
            answers[name].append(answer)
            seconds[name].append(took)
            print(
                f"{name}, fold {k} of {FOLDS}: AUC {auc(dataset.y[judge], answer):.4f}, {took:.1f} "
                f"s{', cached' * known}",
                file=sys.stderr,
                flush=True,
            )

    rows, pairs = compare(
        [dataset.y[judge] for _, judge in parts], answers, seconds, asked.champion
    )
    print(
        f"{dataset.title}: {len(dataset):,} rows, default rate {dataset.y.mean():.4f}; means over "
        f"{FOLDS} folds, seconds to fit and predict one\n"
    )
    print(
        shown(
            rows,
            {c: ".4f" for c in rows[0] if c.startswith("auc") or c in ("brier", "mean_pd")}
            | dict(seconds=".1f"),
        )
    )
    if pairs:
        print(
            f"\n{pairs[0]['model']} against each other model: difference of the AUC with its 95 % "
            "interval, paired\n"
        )
    if pairs:
        print(
            shown(
                [{c: v for c, v in p.items() if c not in ("model", "se", "folds")} for p in pairs],
                dict(difference="+.4f", low="+.4f", high="+.4f"),
            )
        )
    if asked.json:
        told = dict(
            portfolio=portfolio.name,
            rows=len(dataset),
            default_rate=float(dataset.y.mean()),
            sha256=dataset.provenance["sha256"],
            keep=keep,
            preset=asked.preset,
            trials=asked.trials,
            autogluon_seconds=asked.autogluon_seconds,
            libraries={k: v for name in names for k, v in versions(MODELS[name]).items()},
            models=rows,
            pairs=pairs,
        )
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

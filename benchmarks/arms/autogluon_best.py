"""Answer PDs by AutoGluon at its best quality.

    python autogluon_best.py FOLDER SECONDS THREADS

Run by `accuracy.py` in an environment of its own (requirements-autogluon.lock). FOLDER holds
train.parquet, whose column `outcome` is 1 for default, and test.parquet; pd.npy is written beside
them.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main():
    folder, seconds, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    train, test = (pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    predictor = TabularPredictor(
        label="outcome", problem_type="binary", eval_metric="roc_auc", path=str(folder / "models")
    )
    predictor.fit(train, presets="best_quality", time_limit=seconds, num_cpus=threads, num_gpus=0)
    np.save(folder / "pd.npy", predictor.predict_proba(test, as_multiclass=False).to_numpy())


if __name__ == "__main__":
    main()

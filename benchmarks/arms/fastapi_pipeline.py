"""Arm d: a pickled scikit-learn Pipeline behind FastAPI, the applicant as a DataFrame of one row.
No users, no log, no reasons.
"""

import os
import pickle
from pathlib import Path

import pandas as pd
from applicant import Answer, Applicant
from fastapi import FastAPI

PIPELINE = pickle.loads(
    Path(os.environ["PIPELINE"]).read_bytes()
)  # written by benchmarks/service.py a moment ago
app = FastAPI()


@app.post("/predict")
def predict(applicant: Applicant) -> Answer:
    p = float(PIPELINE.predict_proba(pd.DataFrame([applicant.model_dump()]))[0, 1])
    return Answer(probability_default=p, prediction=int(p >= 0.5))

"""Arm e: an empty FastAPI endpoint."""

from applicant import Answer, Applicant
from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict(applicant: Applicant) -> Answer:
    return Answer()

"""Arm c0: an empty BentoML endpoint as `pip install bentoml` sets it up."""

import sys

# BentoML requires uvicorn alone; our environment has its faster loop and parser too.
for name in ("uvloop", "httptools"):
    sys.modules[name] = None

import bentoml  # noqa: E402
from applicant import Answer, Applicant  # noqa: E402


@bentoml.service
class Empty:
    @bentoml.api
    async def predict(self, applicant: Applicant, /) -> Answer:
        return Answer()

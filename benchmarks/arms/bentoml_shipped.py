"""Arm c: the same endpoint with the settings of credit_default's service."""

import gc

import bentoml
from applicant import Answer, Applicant

from credit_default.service import OPTIONS


@bentoml.service(**OPTIONS)
class Empty:
    @bentoml.api
    async def predict(self, applicant: Applicant, /) -> Answer:
        return Answer()

    @bentoml.on_startup
    def settle(self):
        gc.collect()
        gc.freeze()

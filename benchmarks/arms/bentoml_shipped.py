"""Arm c: the same endpoint with the settings of credit_default's service."""

import gc

import bentoml
from applicant import Answer, Applicant

from credit_default.core.settings import read_settings
from credit_default.serving.bento import service_options


@bentoml.service(**service_options(read_settings()))
class Empty:
    @bentoml.api
    async def predict(self, applicant: Applicant, /) -> Answer:
        return Answer()

    @bentoml.on_startup
    def settle(self):
        gc.collect()
        gc.freeze()

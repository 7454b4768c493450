"""What the arms that are not ours take and answer."""

from pydantic import BaseModel


class Applicant(BaseModel):
    "An applicant of portfolio gmsc."

    RevolvingUtilizationOfUnsecuredLines: float
    age: int
    NumberOfTime30_59DaysPastDueNotWorse: int
    DebtRatio: float
    MonthlyIncome: float | None = None
    NumberOfOpenCreditLinesAndLoans: int
    NumberOfTimes90DaysLate: int
    NumberRealEstateLoansOrLines: int
    NumberOfTime60_89DaysPastDueNotWorse: int
    NumberOfDependents: int | None = None


class Answer(BaseModel):
    "The least that an endpoint would answer."

    probability_default: float = 0.5
    prediction: int = 0

"""From an applicant's fields to PD, score and reasons: everything that a served model computes."""

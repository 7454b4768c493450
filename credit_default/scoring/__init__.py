"""From an applicant's fields to a PD with its score and reasons: all that a served model computes."""

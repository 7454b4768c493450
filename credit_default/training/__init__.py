"""From checked data to a verified bundle: recipes, search, blending, calibration, evidence."""

"""Predictions, users, outcomes and checks, stored durably in SQLite or PostgreSQL."""

"""What must not be lost: predictions, users, outcomes and checks, in SQLite or PostgreSQL."""

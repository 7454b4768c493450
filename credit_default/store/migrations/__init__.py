"""The schema's history, for Alembic: `credit_default.store.engine.Schema.upgrade` runs it."""

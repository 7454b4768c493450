"""The schema's history, for Alembic: `credit_default.store.Store.upgrade` runs it."""

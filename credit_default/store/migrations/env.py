"""What Alembic runs, in the transaction and under the lock of `Schema.upgrade`.

`credit_default.store.engine.Schema.upgrade` hands its connection over.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()

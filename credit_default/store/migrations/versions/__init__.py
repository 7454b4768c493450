"""One module for each change of the schema, written by hand and not changed once it was released.

A new one names the one before as its down_revision, and `credit_default.store.engine.HEAD` names
the last. Tests compare what they make with the tables of `credit_default.store.schema`.
"""

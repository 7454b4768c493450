"""One module for each change of the schema, written by hand and never changed once it was released.

A new one names the one before as its down_revision, and store.HEAD names the last; tests/test_store.py holds what they
make against the tables of chapter 30.
"""

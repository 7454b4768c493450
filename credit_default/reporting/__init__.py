"""Notebooks run by papermill and shown as offline HTML."""

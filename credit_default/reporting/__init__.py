"""Run notebooks with papermill and render them as offline HTML."""

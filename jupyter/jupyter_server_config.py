"""Jupyter's settings for this checkout, put on its path by `make lab`: a notebook is cleaned as it
is saved.

nbdev_install_hooks would write the same into the home folder, for every project of this user.
"""

from nbdev.clean import clean_jupyter


def clean_on_save(model, **kwargs):
    "Clean `model` by the settings of the project that Jupyter was started in."
    # Given the path, nbdev would sign the file's former content too, fail on a new notebook and
    # leave a
    # .last_checked beside it. Jupyter itself signs what it saves.
    clean_jupyter(path=None, model=model)


c.ContentsManager.pre_save_hook = clean_on_save  # noqa: F821 (Jupyter provides `c`)

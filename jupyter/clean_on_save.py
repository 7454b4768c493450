"""A server extension of Jupyter: a notebook is cleaned as it is saved.

Unlike the setting `pre_save_hook`, it leaves a hook of the user's own in place, and is not set a
second time, with a warning, when JupyterLab reads its settings again. nbdev_install_hooks would
write such a setting into the home folder, for every project of this user.
"""

from nbdev.clean import clean_jupyter


def clean_on_save(model, **kwargs):
    "Clean `model` by the settings of the project that Jupyter was started in."
    # Given the path, nbdev would sign the file's former content too, fail on a new notebook and
    # leave a .last_checked beside it. Jupyter itself signs what it saves.
    clean_jupyter(path=None, model=model)


def _jupyter_server_extension_points():
    return [{"module": "clean_on_save"}]


def _load_jupyter_server_extension(server):
    server.contents_manager.register_pre_save_hook(clean_on_save)

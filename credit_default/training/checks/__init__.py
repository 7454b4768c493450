"Checks of a new model: what it has to meet to become champion."

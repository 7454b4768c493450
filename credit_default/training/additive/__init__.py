"Additive models: boosted by interpret, held to directions, kept as tables."

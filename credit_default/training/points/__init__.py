"Points scorecards: bins by OptBinning, weights of evidence, whole points."

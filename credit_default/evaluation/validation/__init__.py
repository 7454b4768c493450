"""What a model validator asks beyond the figures: chance, fairness, weak spots, robustness."""

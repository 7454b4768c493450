"""What a model validator asks beyond the figures: chance, comparisons, fairness, weak spots, robustness."""

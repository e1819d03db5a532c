"""Patents that must not be found: drawn from the classification ladder, or chosen by a model's scores."""

"""Tables of what ``metrics=clinical`` measures, over the folds of a cross-validation."""

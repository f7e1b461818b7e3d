"""How the model comes about: data, recipes, training, evaluation by patient, and export. Not needed by a node."""

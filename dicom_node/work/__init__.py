"""Jobs at work: the worker, its watch and its models, the model in shadow, and what is published."""

"""Other application entities: who may call, where each listens, and the one way to call them."""

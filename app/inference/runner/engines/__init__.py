"""Engines behind one protocol: weights, contexts, batches."""

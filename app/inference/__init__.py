"""Inference, from a request to tokens. Parent side: worker, pool. Child side: the runner."""

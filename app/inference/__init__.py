"""From a request to tokens. Parent side: worker, pool. Child side: runner and what it imports."""

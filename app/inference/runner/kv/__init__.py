"""The KV cache: live contexts, snapshots in RAM and on disk."""

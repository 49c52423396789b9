"""Vocabulary, tokenizer and chat templates of a model."""

"""`/v1`: the protocol of OpenAI."""

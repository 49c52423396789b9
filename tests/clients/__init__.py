"""Other people's clients against the real server with SmolLM2: `python -m tests.clients NAME ...`.

Those that are light are tests here too; these bring an environment of their
own, which is made once in `.cache/clients`.
"""

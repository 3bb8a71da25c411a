"""One engine that stands on several: their next-token distributions become one, token by token or word by word.

All models read what was drawn, each behind its own prompt, so that they stay in step. What a mixture is lies in
`llama_diversity.mixtures`, the arithmetic of rows in `rows`, the choice of a model for each word in `words`.
"""

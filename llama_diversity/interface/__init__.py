"""What `import llama_diversity as ld` offers: models, samples, scores, the studies, and results that show themselves.

It stands beside the command line: a function has the parameters that its command has options. Nothing here prints.
"""

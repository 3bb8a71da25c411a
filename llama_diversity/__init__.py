"""llamadiv measures what post-training costs a language model in diversity.

The package root knows only its version; every name is imported from the module where it lives.
"""

__version__ = "0.1.0"

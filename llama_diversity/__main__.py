"""`python -m llama_diversity` is the command `llamadiv`."""

from llama_diversity.cli import main

if __name__ == "__main__":
    main()

"""The viewer in the terminal: texts token by token, with keys. The one place that knows Textual.

It shows what studies/ reads and render/ draws, and computes no number. `viewer.look` opens it; a panel beside the
texts is a module of its own with a line in `panels.PANELS`.
"""

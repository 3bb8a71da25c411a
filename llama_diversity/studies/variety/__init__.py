"""`variety`: how varied the outputs of a stored run are, which of them can be used, and what the next new one costs."""

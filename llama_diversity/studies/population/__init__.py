"""N usable people that fit a target, and what they cost."""

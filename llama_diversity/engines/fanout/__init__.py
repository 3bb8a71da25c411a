"""One engine over workers that are engines: processes of this machine, of a cluster, or of machines elsewhere."""

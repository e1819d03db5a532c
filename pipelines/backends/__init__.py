"""Who writes queries: engines on GPU actors, or an endpoint; each asked in two rounds."""

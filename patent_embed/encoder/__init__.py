"""The text encoder: models from folders and hubs, packed batches, embeddings, adapters, export."""

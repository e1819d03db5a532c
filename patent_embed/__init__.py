"""Fine-tune text-embedding models for patent retrieval: the library (no Ray inside; see ``pipelines/``)."""

__version__ = "0.1.0"

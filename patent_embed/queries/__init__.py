"""What patents are searched by: queries from caches, by rule and from language models, and which of them count."""

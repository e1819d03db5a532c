"""Sources of relevance, each a module that a registry finds: which text is a right answer to which other one."""

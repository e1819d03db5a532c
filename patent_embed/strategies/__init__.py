"""Strategies for negatives, each a module that a registry finds: how many are asked of which rung."""

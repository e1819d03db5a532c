"""Losses, each a module that a registry finds: what is minimised, and the settings that only it reads."""

"""The settings of a run: one module a section, how files and options become them, and their presets."""

"""Sweeps over training settings: what may vary, the trials, and what a sweep leaves behind."""

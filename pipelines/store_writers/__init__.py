"""Stores that the workers of a cluster write into together: each other module than ``base`` holds one's writer."""

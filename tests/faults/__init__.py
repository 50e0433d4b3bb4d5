"""Faults on the real path: what goes wrong between deployed functions and AWS, and how a stack gets it in between."""

"""Durable execution: pure Python, with nothing of AWS, HTTP or the command line in it."""

"""The checks of `adapter doctor`."""

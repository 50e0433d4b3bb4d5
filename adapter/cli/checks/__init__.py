"""What `adapter doctor` looks at."""

"""What surrounds the functions: the local emulator and the deployment."""

"""The engine on one machine: the ports in memory and in a file, and the development server."""

"""The engine on one machine: the ports in memory, and the development server."""

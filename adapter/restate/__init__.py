"""Handlers written with Restate's SDKs: the service protocol, played by a handler of the engine."""

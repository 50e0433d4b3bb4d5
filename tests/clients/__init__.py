"""Published clients of Restate's ingress."""

"""The HTTP side: requests to handlers, by the conventions that Restate's ingress clients use."""

"""An application of one's own: the shared stack that its functions join, and what a new project begins with."""

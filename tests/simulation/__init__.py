"""The simulator: the real engine on the memory store, in virtual time, with every fault that a seed can think of."""

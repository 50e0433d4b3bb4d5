"""What things cost: requests, capacity and time of the cases in the budget table, and a comparison side by side."""

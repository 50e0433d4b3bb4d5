"""Chaos: two workloads on the deployed stack, while everything that may fail does; then nothing may be wrong.

A bank moves money between accounts, a shop takes orders and undoes those that fail. Meanwhile Lambda workers are
killed, DynamoDB is throttled, slow, and lets requests time out that it has carried out, invokes and schedules get lost
or come twice. `make chaos MINUTES=5` runs it, and writes down what it did under `bench/results/`.
"""

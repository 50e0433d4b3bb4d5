"""The simulator: the real engine on the memory store, in virtual time, with every fault that a seed can think of.

What each of its modules tells:

- What is to happen: `plan` is that as data. `generate` draws plans, with a `profile` each, and `composer` their
  programs. `crowds`, `moments`, `corners`, `leaving` and `storms` have plans for one kind of trouble, and `edits` those
  of an operator. `faults` says what may go wrong, `reach` which kinds of trouble there are.
- What programs do: `program`, with its `steps`, `calls`, `results` from outside, what is `combined`, `tasks`, and what
  is `further` or at the `edges`. `sdk_program` does it with Restate's SDK, on its `sdk_machine`, in an `sdk` endpoint.
  `hosting` makes handlers of programs, and `values` what these give each other.
- The `world` around the engine: a `process` of one of its `functions`, the `network`, `clients`, `outsiders`,
  `operators`, `endpoints`. `course` says when there is a storm and when peace, `loop` and `clock` what
  time it is. `seeding` has the engine draw its ids from the seed.
- What must hold at any time: `watch` is a store that looks at each write, at `lives`, `owners`, `rings`,
  `cancellations` and `sessions`. `runs` looks at what programs tell.
- What must hold in the end: `checks` has the order, `aftermath` what they look at. They are `outcomes`, `observations`,
  `histories` of keys, `repeats` of steps, who was `told`, what is `stored`, `waits` and `costs`.
- What it is used for: `run` has one case for each seed. `history` shows it, `shrink` makes it smaller, `fingerprint`
  compares it, `regressions` and `key_regressions` keep it. `mutants` are what it has to find, and
  `mutation` makes them.
"""

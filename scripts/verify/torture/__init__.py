"""The torture runs: real worker processes, real Kafka and Redis, real faults, and checkers that know no product code.

Every test lets the same stream flow through workers while something is done to them, and then compares what came out
with what must come out: an oracle computed from the records alone, and an undisturbed run. Negative controls take a
guard out of the workers and must be caught. `python -m scripts.verify.torture --help`.
"""

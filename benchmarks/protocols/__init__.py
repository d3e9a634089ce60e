"""The rows of the tables of `benchmarks/evaluator.py`: each protocol beside other libraries, on the same arrays."""

"""Benchmarks: what the engine and the gateway do, beside bare loops on the same machine. They print tables; they are no tests."""

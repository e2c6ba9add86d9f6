"""The oracle: the rules of docs/concepts.md told a second time, naively, and compared with Tokenwell step by step."""

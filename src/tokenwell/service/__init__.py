"""Use cases over the store: the meter, keys, people."""

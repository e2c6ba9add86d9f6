"""Access: what may be done by whom, and the keys that programs do it with."""

"""Access: the pages of AI services, their keys, and of framing."""

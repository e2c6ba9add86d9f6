"""Notices: the pages of who is told of what."""

"""Notices in tables."""

"""Alerts: events become deliveries, deliveries are sent through channels until they arrive or are given up."""

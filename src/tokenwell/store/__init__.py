"""The store: the only place that knows tables, columns and drivers."""

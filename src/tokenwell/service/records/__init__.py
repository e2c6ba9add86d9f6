"""Records: what happened, looked up, summed up, proved, doubted and reconciled."""

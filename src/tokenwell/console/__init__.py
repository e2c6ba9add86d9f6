"""The console: the pages on which people read balance, packs and usage ledger."""

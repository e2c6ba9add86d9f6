"""Records: the pages of what happened: ledger, usage, packs and their proof, acts, organizations by need."""

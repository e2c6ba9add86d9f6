"""Supply: how an organization gets new packs other than by a plain grant."""

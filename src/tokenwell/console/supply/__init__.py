"""Supply: the forms and pages by which packs come, change and go."""

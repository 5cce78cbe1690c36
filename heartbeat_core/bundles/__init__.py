"""Model bundles: their content, their predictions, their cards, and their export."""

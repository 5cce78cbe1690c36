"""Model bundles: what they hold, what they predict, their cards, and their export."""

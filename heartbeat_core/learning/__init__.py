"""Everything that is fitted to data: models of every kind, and how their outputs become labels."""

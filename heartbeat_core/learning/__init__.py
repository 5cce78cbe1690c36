"""Everything that is fitted: models of every kind and their decisions."""

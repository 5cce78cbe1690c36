"""Alignment padding: where a sequence lies nearest to the reference, and the scaler of aligned rows."""

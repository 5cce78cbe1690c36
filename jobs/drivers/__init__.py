"""The jobs, one module each: begin or go on, run what is left, finish."""

"""One module a job: begin or go on, run what is left, finish."""

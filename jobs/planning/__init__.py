"""What a run will take, measured on a sample before it is paid for."""

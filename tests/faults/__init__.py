"""What the job survives: each module breaks something real, and gives the figure that the project claims."""

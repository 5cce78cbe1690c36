"""The output folder: what is planned and done there, who works there, and which rows are the newest."""

"""One recording: what is known before it is read, its bytes, and how it is processed."""

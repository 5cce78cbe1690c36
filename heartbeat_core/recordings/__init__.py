"""One recording: what is known of it, its bytes, and the way through processing."""

"""Published databases, read from the files as they are published: one module a database, behind one protocol."""

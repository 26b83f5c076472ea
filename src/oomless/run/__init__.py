"""What is asked: hardware, layout, precision, load; read from flags, files or a pasted command."""

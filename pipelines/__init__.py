"""What workflows do beyond the other commands; each step is a make target, so that anybody can run it."""

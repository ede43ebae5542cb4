"""What we are given: scenes, the files they come from, their statistics."""

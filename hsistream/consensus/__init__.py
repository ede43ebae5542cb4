"""Views of a scene in, pixel labels out: the default head. Arrays only."""

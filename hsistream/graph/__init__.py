"""Graphs whose nodes are prototypes or regions: arrays in, labels out."""

"""Graphs of prototypes, or of pixels that stand for superpixels: arrays in, labels out."""

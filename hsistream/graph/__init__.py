"""Graphs whose nodes are prototypes, or pixels that stand for superpixels: arrays in, labels out."""

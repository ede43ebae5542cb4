"""Regions of a scene: densities, representatives and sums; arrays in, arrays out."""

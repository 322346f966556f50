"""Cases of several workers on one queue."""

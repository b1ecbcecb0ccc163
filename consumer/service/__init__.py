"""What callers may ask, checked at the edge."""

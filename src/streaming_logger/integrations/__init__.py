"""One small file for each framework; the core imports none of them."""

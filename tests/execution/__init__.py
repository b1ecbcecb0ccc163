"""The parts of one execution: prices."""

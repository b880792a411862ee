"""What each operator computes, written for reading and for float64; the specification."""

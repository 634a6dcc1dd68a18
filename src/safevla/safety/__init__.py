"""Stage 1 of the integrated safety approach, MODEL: what counts as unsafe, as pure functions of signals."""

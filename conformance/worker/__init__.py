"""Cases of one worker alone."""

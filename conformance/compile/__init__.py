"""Cases of compiling flows to SQL."""

"""The control group: workers that are wrong on purpose, and what the suite says of them."""

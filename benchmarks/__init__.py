"""What this project promises about its speed, measured; `scripts/bench` runs it."""

"""What becomes of JSON values on their way through workers of several languages."""

"""`tallyd doctor`: everything that can be in the way, each looked at on its own."""

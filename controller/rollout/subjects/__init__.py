"""Subjects of the conformance kit for the built-in sources, on a real engine. Found by their entry points."""

"""Built-in triggers. They come in by the same entry points as a stranger's and import only the contract."""

"""One file a module of ours; no engine, no server, no file but temporary ones."""

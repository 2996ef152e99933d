"""The SQL index: tables, transactions and queries. Knows nothing of Docker, the loop or the command line."""

"""One suite for several implementations: the fake and a real engine, SQLite and PostgreSQL."""

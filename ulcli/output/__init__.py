"""Results to tables for people and to CSV, JSON and JSON lines for scripts."""

"""A fleet on one machine: several of each role on one PostgreSQL, killed at random while scanners send, and judged."""

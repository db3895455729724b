"""Is a migration safe to roll out? Read and judged without importing it, running it, or asking a database."""

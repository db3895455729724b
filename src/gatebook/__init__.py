"""An interactive, notebook-driven schema audit workbook for PostgreSQL."""

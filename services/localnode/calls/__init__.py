"""What each call does: one module a part of the API, and the table that names them all."""

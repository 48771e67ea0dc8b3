"""A guest as a `Host`, by ssh."""

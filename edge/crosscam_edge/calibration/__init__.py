"""What a site's own footage says of a model's scores, measured once and kept in a small file."""

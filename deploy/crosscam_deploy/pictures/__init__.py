"""Pictures in folders: finding them, reading them, and what their names say."""

"""The HTTP interface of a live run: who may ask, what is asked, and what is told."""

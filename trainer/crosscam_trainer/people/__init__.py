"""The people generator: whole rendered people for training, with every label known.

`generate` writes a data set, `config.PeopleConfig` says what can be asked of it.
"""

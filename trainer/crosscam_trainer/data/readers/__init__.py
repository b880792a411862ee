"""One module per data set: how its folders and file names become rows."""

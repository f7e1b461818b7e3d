"""The whole story: a series of files in, findings or a reasoned exclusion out."""

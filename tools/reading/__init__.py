"""What the built deck also has to read, without a script: the deck in one column, and its notebooks. tools/read.py"""

"""DVC stages: each module has one function `run` that reads declared files and writes declared
files.
"""

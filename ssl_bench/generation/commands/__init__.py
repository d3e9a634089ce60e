"""The `ssl-bench views` commands, one file each; their arguments are in `arguments.py`."""

"""The Python API: functions of the package for notebooks and scripts; `ssl_bench` imports them lazily."""

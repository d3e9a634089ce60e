"""Equations as pure functions of tensors; each states its reduction and its use of other ranks."""

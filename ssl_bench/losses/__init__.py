"""Equations as pure functions of tensors; each says its reduction and what it does across ranks."""

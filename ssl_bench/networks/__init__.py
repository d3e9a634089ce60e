"""Plain torch modules: encoders, decoders, heads. They know nothing of Lightning, configs or files."""

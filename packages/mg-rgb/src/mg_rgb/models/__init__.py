"""Video networks: library backbones behind one head. Nothing is imported until a factory is resolved."""

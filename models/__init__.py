"""The patch-free framework of Wang et al. (arXiv:2210.14645), as plain PyTorch."""

"""The segmentation networks that the patch-free framework is compared with."""

"""What ``mg fuse``, ``mg score``, ``mg submit`` and ``mg report`` run; one module each."""

"""Frames: forward decoding, saliency crop, image codecs. Needs the extra ``prep`` (av, opencv)."""

"""Frames: decoding, saliency crop, optical flow, Taylor frames, image codecs. Needs the extra ``prep``."""

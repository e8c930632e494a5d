"""``mg explore``: a local web page on a run's clips, from its stores alone (extra ``explore``)."""

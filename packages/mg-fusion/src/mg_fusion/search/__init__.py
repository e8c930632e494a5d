"""The search for a vote's weights and temperature: ``fit`` is the way in.

``objective`` says what is wanted, ``choosing`` which engine looks for it: exact search (``bounds`` rules out
what cannot win, ``fast`` in compiled code), or ascent (``climb``). ``regions`` and ``found`` say how wide the
summit is.
"""

"""``mg run``: a recipe becomes steps, steps become stores, finished steps are skipped.

``settings`` reads the recipe, ``plan`` turns it into steps, ``execute`` runs them and ``summary`` tells
the result.
Other packages' stages are reached through the registry, never imported.
"""

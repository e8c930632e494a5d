"""Charts as text: inline SVG and a little HTML. Colours are classes of the page's style sheet.

Nothing here knows of runs or stores. Every text of the data goes through :func:`html.escape`, and no chart
uses a style attribute, so that the page's content security policy can forbid them.
"""
